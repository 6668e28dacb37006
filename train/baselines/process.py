"""Fit a baseline in a child process: compiled fits hear no Ctrl-C, and a child can be ended."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hemline.child_process import StderrTail, how_it_ended
from hemline.data.datasets import Images
from hemline.data.splits import TrainingData
from hemline.errors import HemlineError
from hemline.files import parse_json, write_json
from hemline.safe_path import module_command
from hemline.train.baselines.table import Baseline

_TICK_SECONDS = 1.0  # how often the time that has passed is told
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a baseline has come.

    phase: fitting, predicting validation, predicting test.
    share: of the phase that is done, 0 … 1; None where the classifier does not tell.
    seconds: since the start.
    """

    phase: str
    share: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What the child measured.

    fit_seconds, predict_seconds: wall time of the fit, and of both splits.
    cpu_seconds: processor time of the child, of all threads.
    correct: split to its number of right answers.
    converged: whether the fit came to its end before its limit of rounds.
    peak_memory_bytes: largest resident memory of the child.
    """

    fit_seconds: float
    predict_seconds: float
    cpu_seconds: float
    correct: dict[str, int]
    converged: bool
    peak_memory_bytes: int


def fit_in_child(
    baseline: Baseline,
    data: TrainingData,
    images: Images,
    *,
    seed: int,
    threads: int,
    on_progress: Callable[[Progress], None],
) -> Fit:
    """Fit and count right answers on validation and test; tell progress at least every second.

    The child ends with this process, however that ends. Raises HemlineError when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="hemline-baseline-") as name:
        folder = Path(name)
        write_request(folder, baseline, data, images, seed=seed, threads=threads)
        with _child(folder, threads) as child:
            stderr = StderrTail(child.stderr)
            for event in _events(child, on_progress):
                if "error" in event:
                    raise HemlineError(f"{baseline.name} failed: {event['error']}")
                if "correct" in event:
                    return Fit(**event)
            how = how_it_ended(child.wait(_STOP_SECONDS), stderr.text())
    memory = "; signal 9 mostly means too little memory" if "signal 9" in how else ""
    raise HemlineError(f"{baseline.name} ended without a result {how}{memory}")


def write_request(
    folder: Path,
    baseline: Baseline,
    data: TrainingData,
    images: Images,
    *,
    seed: int,
    threads: int,
) -> None:
    """Write what `fitting.fit_and_score` reads."""
    request = {"baseline": baseline.name, "seed": seed, "threads": threads}
    write_json(folder / "request.json", request)
    parts = {
        "train": (data.train_images, data.train_labels),
        "validation": (data.validation_images, data.validation_labels),
        "test": (images.test_images, images.test_labels),
    }
    for part, (pixels, labels) in parts.items():
        np.save(folder / f"{part}-images.npy", pixels)
        np.save(folder / f"{part}-labels.npy", labels)


@contextlib.contextmanager
def _child(folder: Path, threads: int) -> Iterator[subprocess.Popen[bytes]]:
    # for what computes in threads of its own; libraries read it when they are loaded
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    child = subprocess.Popen(
        [*module_command("hemline.train.baselines.fitting"), str(folder)],
        stdin=subprocess.PIPE,  # closed when this process ends, which ends the child
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **limits},
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdin is not None  # noqa: S101 — Popen was asked for a pipe
        child.stdin.close()


def _events(
    child: subprocess.Popen[bytes], on_progress: Callable[[Progress], None]
) -> Iterator[dict[str, Any]]:
    """Yield the child's events that are no progress, until it ends; tell progress meanwhile."""
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_pump, args=(child, lines), daemon=True).start()
    started, phase, share = time.monotonic(), "fitting", None
    while True:
        on_progress(Progress(phase=phase, share=share, seconds=time.monotonic() - started))
        try:
            line = lines.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            continue
        if not line:
            return
        event = parse_json(line, where="the baseline's process")
        if "phase" in event:
            phase, share = event["phase"], event["share"]
        else:
            yield event


def _pump(child: subprocess.Popen[bytes], lines: queue.Queue[bytes]) -> None:
    """Move events into a queue, so that waiting for one can have a time-out; b"" is the end."""
    assert child.stdout is not None  # noqa: S101 — Popen was asked for a pipe
    with child.stdout as stream:
        for line in stream:
            lines.put(line)
    lines.put(b"")

"""Fit a baseline and count its right answers; run in a process of its own (see process.py).

python -m hemline.train.baselines.fitting FOLDER    # one event a line on standard output
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
from joblib import parallel_config
from sklearn.exceptions import ConvergenceWarning

from hemline.files import read_json
from hemline.host import peak_memory_bytes
from hemline.train.baselines.estimators import make_estimator
from hemline.train.baselines.table import find_baseline

PARTS = ("train", "validation", "test")
_ROUND = re.compile(r"^(?:\[|Iteration |building tree )(\d+)")
_CHUNK_IMAGES = 500  # predicted at once, so that there is something to tell

Features = npt.NDArray[np.float32]
Tell = Callable[[dict[str, Any]], None]


def main() -> None:
    """Fit as request.json in the folder of the first argument says; an error is an event too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends this process
    folder = Path(sys.argv[1])
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    tell = _events()
    try:
        tell(fit_and_score(folder, tell))
    except MemoryError:
        tell({"error": "there is too little memory for it: close something, or use --limit"})
    except Exception as error:  # noqa: BLE001 — the parent makes one line of any
        tell({"error": str(error).strip().partition("\n")[0] or type(error).__name__})


def fit_and_score(folder: Path, tell: Tell) -> dict[str, Any]:
    """Return seconds, right answers and memory of the request in `folder`, telling each step.

    The folder has request.json (baseline, seed, threads) and, for each of PARTS, PART-images.npy
    (uint8 (n, …)) and PART-labels.npy (uint8 (n,)).
    """
    request = read_json(folder / "request.json")
    row, threads = find_baseline(request["baseline"]), int(request["threads"])
    estimator = make_estimator(row, seed=request["seed"], threads=threads)
    # threads and no processes: what fits in compiled code lets them work, and memory is shared
    with parallel_config(backend="threading"):
        started = time.perf_counter()
        converged = _fit(estimator, folder, row.parameters.get(row.rounds or ""), tell)
        fitted = time.perf_counter()
        scored = PARTS[1:]
        correct = {part: _correct(estimator, folder, part, threads, tell) for part in scored}
    return {
        "fit_seconds": round(fitted - started, 1),
        "predict_seconds": round(time.perf_counter() - fitted, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "correct": correct,
        "converged": converged,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _fit(estimator: Any, folder: Path, rounds: Any, tell: Tell) -> bool:
    """Fit the estimator; return whether it came to its end."""
    images, labels = _load(folder, "train")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.redirect_stdout(_Rounds(rounds, tell)):
            estimator.fit(images, labels)
    return not any(issubclass(each.category, ConvergenceWarning) for each in caught)


def _correct(estimator: Any, folder: Path, part: str, threads: int, tell: Tell) -> int:
    """Count the right answers on a part, in chunks; SVC computes them in several threads."""
    images, labels = _load(folder, part)
    starts = range(0, len(images), _CHUNK_IMAGES)

    def count(at: int) -> int:
        chunk = slice(at, at + _CHUNK_IMAGES)
        return int((estimator.predict(images[chunk]) == labels[chunk]).sum())

    correct = 0
    # what has threads of its own gets one chunk at a time
    own = getattr(estimator, "n_jobs", None) is not None
    with ThreadPoolExecutor(1 if own else threads) as pool:
        for done, each in enumerate(pool.map(count, starts), start=1):
            correct += each
            tell({"phase": f"predicting {part}", "share": done / len(starts)})
    return correct


def _load(folder: Path, part: str) -> tuple[Features, npt.NDArray[np.uint8]]:
    """Return a part's pixels as float32 (n, features) from 0 to 1, and its labels."""
    pixels = np.load(folder / f"{part}-images.npy")
    features: Features = pixels.reshape(len(pixels), -1).astype(np.float32)
    features /= 255
    return features, np.load(folder / f"{part}-labels.npy")


class _Rounds:
    """A standard output that makes events of the rounds that scikit-learn prints."""

    def __init__(self, rounds: int | None, tell: Tell) -> None:
        self._rounds, self._tell, self._line = rounds, tell, ""

    def write(self, text: str) -> int:
        """Look at each whole line."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            found = _ROUND.match(line)
            if found and self._rounds:
                self._tell({"phase": "fitting", "share": int(found[1]) / self._rounds})
        return len(text)

    def flush(self) -> None:
        """Do nothing: every line was told."""


def _events() -> Tell:
    """Return what writes events to standard output, where from now on nothing else can write."""
    stream: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what compiled code prints must not come between
    return lambda event: print(json.dumps(event), file=stream, flush=True)


def _end_with_parent(folder: Path) -> None:
    """End this process when the parent is gone, which closes its standard input, however it went.

    A parent that was killed could not remove the folder.
    """
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()

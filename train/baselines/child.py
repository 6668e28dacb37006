"""The process that fits a baseline: compiled fits ignore Ctrl-C, and a process can be ended.

It reads a pickled `FitJob` on standard input and writes one JSON event a line on standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.child_process import end_with_parent
from hemline.host import peak_memory_bytes
from hemline.train.baselines.table import Baseline

_ROUND = re.compile(r"^(?:\[|Iteration |building tree )(\d+)", re.MULTILINE)
_CHUNK_IMAGES = 500  # predicted at once, so that there is progress to report

Part = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitJob:
    """What to fit: a row, its seed and threads, and the parts: uint8 images and labels.

    The part `train` is fitted, `validation` and `test` are predicted.
    """

    baseline: Baseline
    seed: int
    threads: int
    parts: dict[str, Part]


def main() -> None:
    """Fit the job on standard input; an error is an event too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    job: FitJob = pickle.load(sys.stdin.buffer)  # noqa: S301 — from the parent
    end_with_parent()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what compiled code prints must not come between

    def report(event: dict[str, Any]) -> None:
        print(json.dumps(event), file=events, flush=True)

    try:
        report(fit_and_score(job, report))
    except MemoryError:
        report({"error": "there is not enough memory for it: use fewer images"})
    except Exception as error:  # noqa: BLE001 — the parent makes one line of any
        report({"error": str(error).strip().partition("\n")[0] or type(error).__name__})


def fit_and_score(job: FitJob, report: Report) -> dict[str, Any]:
    """Return seconds, correct predictions of each part and memory; report each step."""
    from joblib import parallel_config
    from threadpoolctl import threadpool_limits

    from hemline.train.baselines.estimators import make_estimator

    estimator = make_estimator(job.baseline, seed=job.seed, threads=job.threads)
    # threads and no processes: what fits in compiled code lets them work, and memory is shared
    with parallel_config(backend="threading"), threadpool_limits(job.threads):
        started = time.perf_counter()
        converged = _fit(estimator, job, report)
        fitted = time.perf_counter()
        correct = {part: _correct(estimator, job, part, report) for part in ("validation", "test")}
    return {
        "fit_seconds": round(fitted - started, 1),
        "predict_seconds": round(time.perf_counter() - fitted, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "converged": converged,
        "peak_memory_bytes": peak_memory_bytes(),
        "correct": correct,
    }


def _fit(estimator: Any, job: FitJob, report: Report) -> bool:
    """Fit the estimator; return whether it converged before its limit of rounds."""
    from sklearn.exceptions import ConvergenceWarning

    pixels, labels = job.parts["train"]
    rounds = _Rounds(job.baseline.parameters.get(job.baseline.rounds or ""), report)
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(rounds):
        warnings.simplefilter("always")
        estimator.fit(_features(pixels), labels)
    return not any(issubclass(each.category, ConvergenceWarning) for each in caught)


def _correct(estimator: Any, job: FitJob, part: str, report: Report) -> int:
    """Count the correct predictions of a part, in chunks and several threads."""
    from joblib import Parallel, delayed

    pixels, labels = job.parts[part]
    features, correct = _features(pixels), 0

    def count(at: int) -> int:
        chunk = slice(at, at + _CHUNK_IMAGES)
        return int((estimator.predict(features[chunk]) == labels[chunk]).sum())

    starts = range(0, len(labels), _CHUNK_IMAGES)
    # what has threads of its own gets one chunk at a time
    jobs = 1 if getattr(estimator, "n_jobs", None) is not None else job.threads
    counts = Parallel(n_jobs=jobs, return_as="generator")(delayed(count)(at) for at in starts)
    for done, each in enumerate(counts, start=1):
        correct += each
        report({"phase": f"predicting {part}", "share": done / len(starts)})
    return correct


def _features(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return images as float32 (n, features) from 0 to 1."""
    features: npt.NDArray[np.float32] = pixels.reshape(len(pixels), -1).astype(np.float32)
    features /= 255
    return features


class _Rounds:
    """A standard output that reports the rounds that scikit-learn prints.

    Its callbacks, which would be the better way, do not know forests, boosting and MLPs (1.9).
    """

    def __init__(self, rounds: Any, report: Report) -> None:
        self._rounds, self._report, self._line = rounds, report, ""

    def write(self, text: str) -> int:
        """Report the last whole line that names a round."""
        lines, _, self._line = (self._line + text).rpartition("\n")
        for found in _ROUND.findall(lines) if self._rounds else ():
            self._report({"phase": "fitting", "share": int(found) / self._rounds})
        return len(text)

    def flush(self) -> None:
        """Do nothing: every line was reported."""


if __name__ == "__main__":
    main()

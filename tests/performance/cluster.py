"""What two workers of Ray bring to a search, over what two plain processes bring to it.

python tests/performance/cluster.py [--rounds N] [--trials N] [--epochs N] [--limit N]
    [--no-results]

Some fifteen minutes on two cores. All train trials of hem-20k of one length with one thread each:
one command, two commands that share the study, and one with --ray. The rate is that of the trials
after each worker's first, so that starting Python, TensorFlow and Ray is left out; what the starts
take is in the detail. Writes results/performance.jsonl.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import optuna
from measurement import Result, report

_LEAST = 0.85  # of the gain of two plain processes
_HEMLINE = [sys.executable, "-c", "from hemline.cli import main; main()"]
_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
_WAYS = {"one process": (1, []), "two processes": (2, []), "Ray": (1, ["--ray"])}


@dataclass(frozen=True, slots=True)
class Rate:
    """Trials per second of two workers or one, and the seconds before their first results."""

    per_second: float
    start_seconds: float


def rate_of(way: str, options: list[str], folder: Path, begun: float) -> Rate:
    """Run a search in one of the ways; `begun` is only for its folder's name."""
    processes, words = _WAYS[way]
    study = folder / f"{way.replace(' ', '-')}-{begun}"
    command = [*_HEMLINE, "tune", "hem-20k", "--over", "learning_rate", "--pruning", "none"]
    command += [*options, "-o", str(study), "--quiet", *words]
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, **_ONE_THREAD}}
    running = [subprocess.Popen(command, **quiet) for _ in range(processes)]
    codes = [each.wait() for each in running]
    if any(codes):
        raise RuntimeError(f"{way} failed: {' '.join(command)}")
    storage = f"sqlite:///{study / 'study.db'}"
    trials = optuna.load_study(study_name=None, storage=storage).trials
    ends = sorted(each.datetime_complete.timestamp() for each in trials)
    first = min(each.datetime_start.timestamp() for each in trials)
    workers = 1 if way == "one process" else 2
    counted = ends[workers - 1 :]
    return Rate((len(counted) - 1) / (counted[-1] - counted[0]), ends[0] - first)


def main() -> None:
    """Measure in interleaved rounds and report the claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=11)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=6000)
    parser.add_argument("--no-results", action="store_true")
    given = parser.parse_args()
    options = [f"--{name}={getattr(given, name)}" for name in ("trials", "epochs", "limit")]
    options += [f"--validation={given.limit // 6}"]
    rates: dict[str, list[Rate]] = {way: [] for way in _WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            for way in sorted(_WAYS, reverse=bool(number % 2)):
                rates[way].append(rate_of(way, options, Path(folder), number))
                print(f"round {number + 1}: {way}, {rates[way][-1]}", file=sys.stderr)
    speed = {way: [each.per_second for each in found] for way, found in rates.items()}
    start = {way: statistics.median(x.start_seconds for x in found) for way, found in rates.items()}
    share = statistics.median(
        ray / two for ray, two in zip(speed["Ray"], speed["two processes"], strict=True)
    )
    gains = {
        way: statistics.median(
            many / one for many, one in zip(speed[way], speed["one process"], strict=True)
        )
        for way in ("two processes", "Ray")
    }
    told = [f"{way} {gain:.2f} × one" for way, gain in gains.items()]
    told += [f"{start[way]:.0f} s to the first result of {way}" for way in gains]
    result = Result(
        claim=f"tune on two workers of Ray: ≥ {_LEAST} × the gain of two plain processes",
        value=share,
        unit="×",
        met=share >= _LEAST,
        detail=", ".join(told),
    )
    if given.no_results:
        print(result)
    else:
        report("cluster", [result])


if __name__ == "__main__":
    main()

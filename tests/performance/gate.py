"""Count how often the gate fails a planted slowdown of 5 %, and bundles that did not change.

python tests/performance/gate.py [--repeats N]

The sessions of one copy of a bundle spin for 5 % of what each inference took. Both copies are gated
against the original with a limit of 1.02, on the machine as it is and with another process that
keeps one core busy. Steps planted in made-up series are counted for `hemline history`. Writes
results/bench/gate.jsonl.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from measurement import BUNDLE, ROOT, Result, report

from hemline.bench.devices.checking import nothing
from hemline.bench.devices.local import LocalDevice
from hemline.bench.gate.gating import GateRequest, run_gate
from hemline.bench.gate.side import PROCESS_SPREAD, Side
from hemline.bench.history.changes import change_points
from hemline.bench.measuring.plan import FULL, planned_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.measuring.turns import Turns
from hemline.bench.records import current_records
from hemline.contract.manifest import read_manifest
from hemline.runtime.process import JobProcess
from hemline.safe_path import code_command
from hemline.tables import Table, as_text

sys.path.insert(0, str(ROOT / "tests" / "bench"))
from test_history import planted

RESULTS = ROOT / "results" / "bench" / "gate.jsonl"
_CELL = "int8.tflite@litert"
_LIMIT, _PLANTED = 1.02, 0.05
_ANSWERS = ("passed", "failed", "not enough evidence")
_REPEATS = 20
_SERIES = 200  # a step is found in a moment
_SPREAD_ROUNDS = 24
QUIET, BUSY, SERIES = "as it is", "one core kept busy", "made-up series"
# A busy machine disturbs every round: more of them say nothing more.
_BUSY_ROUNDS = 6
# a job runner whose sessions spin for a share of each inference, for files of one folder
_CHILD = f"""
import time
from hemline.runtime import command_line, job
from hemline.runtime.sessions import interpreter

slow, share, clock = sys.argv.pop(1), 0.0, time.perf_counter_ns
run_job, run = job.JobRunner.run, interpreter.InterpreterSession.run

def of_folder(self, asked):
    global share
    share = {_PLANTED} if asked.artifact.startswith(slow) else 0.0
    return run_job(self, asked)

def spinning(self, *arguments):
    started = clock()
    outputs = run(self, *arguments)
    ended = clock()
    until = ended + (ended - started) * share
    while clock() < until:
        pass
    return outputs

job.JobRunner.run, interpreter.InterpreterSession.run = of_folder, spinning
command_line.main(["jobs"], program="gate.py")
"""


class SpinningDevice(LocalDevice):
    """This machine, where the files of one folder take longer."""

    def __init__(self, slow: Path) -> None:
        super().__init__()
        self._command = (*code_command(_CHILD), f"{slow}/")

    def open(self, runtime: str, version: str) -> JobProcess:
        """Start a child whose sessions spin."""
        del runtime, version
        return JobProcess(self._command)


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy by a process of its own."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        child.kill()
        child.wait()


def side_of(folder: Path) -> Side:
    subject = Subject(bundle=folder, manifest=read_manifest(folder))
    return Side(name=str(folder), records=current_records(subject), subject=subject)


def gated(folder: Path, title: str, repeats: int, rounds: int) -> list[dict[str, object]]:
    """Gate both copies in turn; return a line of results for each."""
    device, before = SpinningDevice(folder / "slow"), side_of(folder / "before")
    request = GateRequest(max_slowdown=_LIMIT, patterns=(_CELL,), rounds=rounds)
    answers: dict[str, Counter[str]] = {"slow": Counter(), "same": Counter()}
    ratios: dict[str, list[float]] = {"slow": [], "same": []}
    seconds: dict[str, list[float]] = {"slow": [], "same": []}
    for number in range(repeats):
        for name in answers:
            started = time.perf_counter()
            sides = (before, side_of(folder / name))
            (check,) = run_gate(sides, request, device, progress=lambda _: None)
            seconds[name].append(time.perf_counter() - started)
            answers[name][check.answer] += 1
            if check.value is not None:
                ratios[name].append(check.value)
        print(f"{title}: {number + 1} of {repeats}: {dict(answers)}", file=sys.stderr)
    titles = {"slow": f"slower by {_PLANTED:.0%}", "same": "unchanged"}
    return [
        {
            "machine": title,
            "candidate": titles[name],
            "repeats": repeats,
            **{answer: answers[name][answer] for answer in _ANSWERS},
            "median ratio": round(statistics.median(ratios[name]), 4) if ratios[name] else None,
            "seconds": round(statistics.median(seconds[name]), 1),
        }
        for name in answers
    ]


def stepped(step: float) -> dict[str, object]:
    """Count made-up series in which a change is marked; with a step, within two runs of it."""
    found = 0
    for seed in range(_SERIES):
        times, at = planted(seed, step)
        marked = change_points(times)
        found += any(abs(each - at) <= 2 for each in marked) if step else bool(marked)
    candidate = f"step of {step:.0%}" if step else "no step"
    return {"machine": SERIES, "candidate": candidate, "repeats": _SERIES, "marked": found}


def spread(folder: Path) -> float:
    """Return the robust standard deviation of the log ratio of a file to itself, by processes."""
    artifact, _, runtime = _CELL.partition("@")
    subject = Subject(bundle=folder / "before", manifest=read_manifest(folder / "before"))
    plan = replace(FULL, runtimes=LocalDevice().runtimes())
    cell = next(
        each
        for each in planned_cells(subject, plan)
        if (each.artifact.name, each.runtime) == (artifact, runtime)
    )
    turns = Turns(
        (cell, cell),
        LocalDevice(),
        plan,
        stack=contextlib.ExitStack(),
        stop=nothing,
        progress=print,
    )
    logs = []
    for _ in range(_SPREAD_ROUNDS):
        medians = [
            statistics.median(r.cells[0].latencies_ns) for r in turns.round().results.values()
        ]
        logs.append(math.log(medians[0] / medians[1]))
    return 1.4826 * statistics.median(abs(log - statistics.median(logs)) for log in logs)


def results_of(lines: list[dict[str, object]], processes: float) -> list[Result]:
    """Return the claims, with the counts behind them."""
    slow, same, busy_slow, busy_same, step, none = lines
    bounds = (
        (f"the gate fails a slowdown of {_PLANTED:.0%}", slow, "failed", 0.9, 1.0),
        ("the gate fails no unchanged file", same, "failed", 0.0, 0.0),
        (f"{BUSY}: it passes no slowdown of {_PLANTED:.0%}", busy_slow, "passed", 0.0, 0.0),
        (f"{BUSY}: it fails no unchanged file", busy_same, "failed", 0.0, 0.0),
        ("history marks a step of 10 %", step, "marked", 0.9, 1.0),
        ("history marks no series without a step", none, "marked", 0.0, 0.01),
    )
    results = []
    for claim, line, answer, low, high in bounds:
        value = int(str(line[answer])) / int(str(line["repeats"]))
        counts = (f"{line[name]} {name}" for name in (*_ANSWERS, "marked") if name in line)
        detail = f"{', '.join(counts)}, of {line['repeats']}"
        if "seconds" in line:
            detail += f"; {line['seconds']} s each"
        met = low <= value <= high
        results.append(Result(claim=claim, value=value, unit="", met=met, detail=detail))
    return [
        *results,
        Result(
            claim=f"two processes of one file differ by {PROCESS_SPREAD:.1%} at most",
            value=100 * processes,
            unit="%",
            met=processes <= PROCESS_SPREAD,
            detail=f"robust standard deviation of {_SPREAD_ROUNDS} pairs",
        ),
    ]


def main() -> None:
    """Measure, print a table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=_REPEATS)
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for copy in ("before", "slow", "same"):
            shutil.copytree(options.bundle, folder / copy)
        processes = spread(folder)
        lines = gated(folder, QUIET, options.repeats, GateRequest().rounds)
        with busy_core():
            lines += gated(folder, BUSY, options.repeats, _BUSY_ROUNDS)
    lines += [stepped(0.10), stepped(0.0)]
    names = list(dict.fromkeys(name for line in lines for name in line))
    rows = ([str(line.get(name, "")) for name in names] for line in lines)
    print(as_text(Table.of((*names[:2], *(f">{name}" for name in names[2:])), rows)))
    report("gate", results_of(lines, processes), RESULTS)


if __name__ == "__main__":
    main()

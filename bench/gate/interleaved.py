"""Measure two bundles in turn, until each pair of cells is decided or has had all its rounds.

A process keeps the memory layout that it began with: the same file can take 3 % longer in one
process than in another, however long both run. So each turn has a process of its own, the value of
a round is one ratio, and the interval is made from the spread of these values.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from hemline.bench.devices.checking import nothing
from hemline.bench.devices.device import Device
from hemline.bench.gate.decision import LEVEL, UNKNOWN, Check, Estimate, decide
from hemline.bench.gate.side import Side, selects, unmatched
from hemline.bench.measuring.noise import judged
from hemline.bench.measuring.plan import FULL, PlannedCell, planned_cells
from hemline.bench.measuring.turns import Turns
from hemline.contract.record import RoundFacts
from hemline.progress import tracked
from hemline.statistics import trimmed_mean

FEWEST = 3  # rounds that an answer needs
LOOKS = (4, 2, 1)  # the gate looks after a quarter, a half and all of the rounds
# Bonferroni: all looks together are wrong in 1 % at most
_LOOK_LEVEL = 1 - (1 - LEVEL) / len(LOOKS)
_UNVERIFIED = "it was verified only in other versions of this runtime"
_BEFORE, _AFTER, _TWIN = range(3)  # cells that take turns; the twin is the first one again


@dataclass(slots=True, kw_only=True)
class _Series:
    """The rounds of a pair of cells.

    rounds: by the cell beside the baseline, log ratios and what the machine did meanwhile.
    peak_bytes: largest memory of the second cell.
    """

    turns: Turns
    rounds: dict[int, list[tuple[float, RoundFacts]]] = field(
        default_factory=lambda: {_AFTER: [], _TWIN: []}
    )
    peak_bytes: int = 0

    def measure(self, cell: int = _AFTER) -> None:
        """Add a round, unless a cell has failed before."""
        done = self.turns.round((_BEFORE, cell))
        if not self.turns.failed:
            first, second = (
                median(done.results[at].cells[0].latencies_ns) for at in (_BEFORE, cell)
            )
            self.rounds[cell].append((math.log(second / first), done.facts))
            self.peak_bytes = max(self.peak_bytes, done.results[cell].peak_memory_bytes)

    def quiet(self, cell: int = _AFTER) -> tuple[list[float], str]:
        """Return the log ratios of undisturbed rounds, and why others are missing."""
        reasons = [str(error) for error in self.turns.failed.values()]
        values = []
        facts = judged([facts for _, facts in self.rounds[cell]])
        for (log, _), judgement in zip(self.rounds[cell], facts, strict=True):
            if judgement.disturbed is None:
                values.append(log)
            else:
                reasons.append(judgement.disturbed)
        return values, reasons[0] if reasons else ""

    def confirmed(self, check: Check) -> Check:
        """Return a failed check if equal things do not differ, by as many rounds, here and now."""
        if check.answer != "failed":
            return check
        for _ in range(2):
            self.rounds[_TWIN].clear()
            for _ in self.rounds[_AFTER]:
                self.measure(_TWIN)
            values, _ = self.quiet(_TWIN)
            mean, half = trimmed_mean(values, LEVEL) if len(values) >= FEWEST else (0.0, -1.0)
            if abs(mean) <= half:
                return check
        reason = f"the baseline also differed from itself, by {math.expm1(mean):+.1%}, or was noisy"
        return replace(check, answer=UNKNOWN, reason=reason)


def check_rounds(title: str, values: Sequence[float], limit: float, *, problem: str = "") -> Check:
    """Answer by the log ratios of the rounds so far; `problem` is why others are missing."""
    if len(values) < FEWEST:
        reason = f"only {len(values)} rounds could be used: {problem or 'more were not asked for'}"
        return Check(kind="slowdown", cell=title, answer=UNKNOWN, limit=limit, reason=reason)
    mean, half = trimmed_mean(values, _LOOK_LEVEL)
    return decide("slowdown", title, Estimate(mean=mean, half=half, count=len(values)), limit)


def interleaved_checks(
    sides: tuple[Side, Side],
    device: Device,
    limit: float,
    *,
    rounds: int,
    patterns: Sequence[str],
    progress: Callable[[str], None],
) -> tuple[list[Check], dict[str, int]]:
    """Return the slowdown of each cell of the second bundle, and its peak memory by title.

    Raises DeviceError when the device is lost; a cell that fails has no answer.
    """
    runtimes = device.runtimes()
    before, after = (_planned(side, runtimes, patterns) for side in sides)
    series = {
        title: _Series(turns=_turns(before[title], after[title], device))
        for title in after
        if title in before
    }
    checks: dict[str, Check] = {}
    done = 0
    for part in LOOKS:
        until = max(FEWEST, rounds // part)
        left = [title for title in series if title not in checks or checks[title].answer == UNKNOWN]
        if left and until > done:
            progress(f"gate: {len(left)} cells × {until - done} rounds")
        for _ in tracked(range(done, until), until - done, "measuring rounds"):
            for title in left:
                series[title].measure()
        for title in left:
            values, problem = series[title].quiet()
            check = check_rounds(title, values, limit, problem=problem)
            checks[title] = series[title].confirmed(check)
        done = until
    titles = [{title: title for title in each} for each in (before, after)]
    missing = [
        *unmatched("slowdown", limit, sides, titles),
        *(
            Check(kind="slowdown", cell=title, answer=UNKNOWN, limit=limit, reason=_UNVERIFIED)
            for title in _passed(sides[1], {runtime for runtime, _ in runtimes}, patterns)
            if title not in before and title not in after
        ),
    ]
    return [*checks.values(), *missing], {t: each.peak_bytes for t, each in series.items()}


def _turns(before: PlannedCell, after: PlannedCell, device: Device) -> Turns:
    """Return turns whose processes end with them, so that the stack stays empty."""
    cells, stack = (before, after, before), contextlib.ExitStack()
    return Turns(cells, device, FULL, stack=stack, stop=nothing, progress=lambda _: None)


def _planned(
    side: Side, runtimes: Sequence[tuple[str, str]], patterns: Sequence[str]
) -> dict[str, PlannedCell]:
    """Return what can be measured of a bundle, by title."""
    plan = replace(FULL, runtimes=tuple(runtimes))
    cells = () if side.subject is None else planned_cells(side.subject, plan)
    return {
        f"{cell.artifact.name} · {cell.runtime}": cell
        for cell in cells
        if selects(patterns, cell.artifact.name, cell.runtime)
    }


def _passed(side: Side, runtimes: Container[str], patterns: Sequence[str]) -> list[str]:
    """Return the titles of what passed verification in any version of these runtimes."""
    artifacts = () if side.subject is None else side.subject.manifest.artifacts
    found = [
        f"{artifact.name} · {verdict.runtime}"
        for artifact in artifacts
        for verdict in artifact.verdicts
        if verdict.status == "passed"
        and verdict.runtime in runtimes
        and selects(patterns, artifact.name, verdict.runtime)
    ]
    return list(dict.fromkeys(found))

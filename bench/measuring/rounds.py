"""Measure latency and memory: rounds of all cells in turn, disturbed ones again.

Interleaving spreads slow drifts (frequency, neighbours) over all cells alike, so that their ratios
hold; a child for each cell keeps memory and thread pools apart.
"""

from __future__ import annotations

import contextlib
import secrets
import statistics
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace

from hemline.bench.devices.checking import nothing
from hemline.bench.devices.device import Device
from hemline.bench.measuring.noise import judged, quietest
from hemline.bench.measuring.plan import CellKey, MeasurementPlan, PlannedCell, planned_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.measuring.turns import Round, Turns
from hemline.contract.conditions import conditions_of
from hemline.contract.job import JobResult
from hemline.contract.record import Latency, Memory, Pair, Record, RoundFacts
from hemline.errors import HemlineError, remedy
from hemline.progress import tracked
from hemline.statistics import paired_ratio

_PAIR_LEVEL = 0.99  # one run in a hundred is marked by chance
Keep = Callable[[Subject, Iterable[Record]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What came of the rounds that count: with what the machine did.

    name: identity of the run.
    pair: check on equal things; None where there was none.
    """

    name: str
    rounds: tuple[Round, ...]
    facts: tuple[RoundFacts, ...]
    pair: Pair | None


def measure(
    subjects: Sequence[Subject],
    device: Device,
    plan: MeasurementPlan,
    *,
    skip: Container[CellKey] = frozenset(),
    stop: Callable[[], None] = nothing,
    keep: Keep = Subject.append,
    progress: Callable[[str], None],
) -> None:
    """Measure every artifact of every bundle in the plan's runtimes, where it passed verification.

    All cells take turns, whichever bundle they are of. Passes a Latency and a Memory record of each
    to `keep`, with its bundle, after the last round. A cell that fails costs itself only; JobError
    is raised at the end. `stop` raises when the user interrupts. Raises HemlineError when nothing
    of a bundle was verified, DeviceError when the device was lost.
    """
    plan = plan if plan.runtimes else replace(plan, runtimes=device.runtimes())
    cells: list[PlannedCell] = []
    for subject in subjects:
        planned = planned_cells(subject, plan)
        if not planned:
            names = " ".join(f"{runtime}=={version}" for runtime, version in plan.runtimes)
            raise HemlineError(
                f"{subject.bundle} has no artifact that passed verification in {names}",
                remedy=remedy("verify there", bundle=subject.bundle),
            )
        cells += [cell for cell in planned if cell.key not in skip]
    measure_cells(cells, device, plan, stop=stop, keep=keep, progress=progress)


def measure_cells(
    cells: Sequence[PlannedCell],
    device: Device,
    plan: MeasurementPlan,
    *,
    stop: Callable[[], None] = nothing,
    keep: Keep = Subject.append,
    progress: Callable[[str], None],
) -> None:
    """Measure cells in turn, in the rounds of a plan; see measure."""
    progress(f"bench {len(cells)} cells × {plan.rounds} rounds × {plan.invocations} invocations")
    with contextlib.ExitStack() as stack:
        turns = Turns(cells, device, plan, stack=stack, stop=stop, progress=progress)
        run = _run(turns, plan)
    for index, cell in enumerate(cells):
        if index not in turns.failed:
            keep(cell.subject, _records(device, cell, index, run))
    if turns.failed:
        raise next(iter(turns.failed.values()))
    if run.pair is not None and not run.pair.held:
        progress(f"the same cell timed twice differed by {run.pair.ratio - 1:+.1%}: measure again")


def _run(turns: Turns, plan: MeasurementPlan) -> _Run:
    """Run the rounds of a plan, in a thorough one as many again at most for disturbed ones."""
    rounds: list[Round] = []
    twins = None
    for number in tracked(range(plan.rounds), plan.rounds, "measuring rounds"):
        rounds.append(turns.round())
        if number == 0 and plan.thorough and plan.rounds >= 3:
            twins = _add_twin(turns, rounds[0])
    facts = judged([each.facts for each in rounds])
    while plan.thorough and len(rounds) < 2 * plan.rounds:
        if sum(each.disturbed is None for each in facts) >= plan.rounds:
            break
        rounds.append(turns.round())
        facts = judged([each.facts for each in rounds])
    kept = quietest(facts, plan.rounds)
    rounds, facts = [rounds[n] for n in kept], tuple(facts[n] for n in kept)
    pair = None if twins is None else _pair(turns, twins, rounds)
    return _Run(name=secrets.token_hex(6), rounds=tuple(rounds), facts=facts, pair=pair)


def _add_twin(turns: Turns, first: Round) -> tuple[int, int] | None:
    """Add the cell that is measured fastest a second time; return the indices of the two."""
    results = first.results
    if not results:
        return None
    fastest = min(results, key=lambda index: sum(results[index].cells[0].latencies_ns))
    turns.cells.append(turns.cells[fastest])
    results.update(turns.round([len(turns.cells) - 1]).results)
    return fastest, len(turns.cells) - 1


def _pair(turns: Turns, twins: tuple[int, int], rounds: Sequence[Round]) -> Pair | None:
    """Compare the two equal cells, once more where they differ; None where one of them failed."""
    for retried in (False, True):
        if turns.failed.keys() & set(twins) or len(rounds) < 3:
            return None
        first, second = ([each.results[i].cells[0].latencies_ns for each in rounds] for i in twins)
        ratio, low, high = paired_ratio(first, second, _PAIR_LEVEL)
        pair = Pair(ratio=ratio, low=low, high=high, retried=retried)
        if pair.held or retried:
            return pair
        rounds = [turns.round(twins) for _ in rounds]
    return None


def _records(device: Device, planned: PlannedCell, index: int, run: _Run) -> list[Record]:
    results = [each.results[index] for each in run.rounds]
    last = results[-1]
    cell = planned.recorded(last, device.name)
    conditions = replace(conditions_of(last), run=run.name, pair=run.pair)
    rounds_ns = tuple(result.cells[0].latencies_ns for result in results)
    payloads = (Latency(rounds_ns=rounds_ns, facts=run.facts), _memory(results))
    return [Record(cell=cell, conditions=conditions, payload=each) for each in payloads]


def _memory(results: Sequence[JobResult]) -> Memory:
    """Return the largest peak, and the medians over the processes that the rounds started."""
    started = [result for result in results if result.cells[0].load_ns] or results[:1]
    steady = [r.steady_memory_bytes for r in results if r.steady_memory_bytes is not None]
    process = [r.process_ns for r in started if r.process_ns is not None]
    return Memory(
        peak_bytes=max(result.peak_memory_bytes for result in results),
        import_ns=_median([result.import_ns for result in started]),
        load_ns=_median([result.cells[0].load_ns for result in started]),
        first_ns=_median([result.cells[0].first_ns for result in started]),
        # a mean, because each is known to a clock tick only
        process_ns=int(statistics.fmean(process)) if process else None,
        steady_bytes=_median(steady) if steady else None,
        package_bytes=results[0].package_bytes,
    )


def _median(values: Sequence[int]) -> int:
    return int(statistics.median(values))

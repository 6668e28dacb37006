"""Compare latencies that were recorded: within one run, or by a reference that both runs have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hemline.bench.gate.decision import UNKNOWN, Z99, Check, Estimate, decide
from hemline.bench.gate.side import (
    Identity,
    Level,
    Side,
    by_date,
    identity_of,
    level_of,
    title_of,
    unmatched,
)
from hemline.contract.record import Instructions, Latency, Record
from hemline.contract.settings import DEFAULT
from hemline.errors import UsageError, remedy

Runs = dict[str, Record]  # what each run measured of one cell, the newest last


def recorded_checks(
    sides: tuple[Side, Side], limit: float, *, reference: tuple[str, str], patterns: Sequence[str]
) -> list[Check]:
    """Return the slowdown of each cell of the second side.

    Cells of one run are compared as they are; those of different runs by their ratios to the
    reference (artifact, runtime), which must be the same file in both. Raises UsageError for
    records of unlike hosts, and where the reference is needed and missing.
    """
    before, after = (_cells(side.selected(patterns).records) for side in sides)
    checks = []
    for key in (key for key in after if key in before):
        old, new = before[key], after[key]
        _require_like_hosts(sides, _newest(old), _newest(new))
        counts = [_newest(runs).payload for runs in (old, new)]
        if isinstance(counts[0], Instructions) and isinstance(counts[1], Instructions):
            ratio = math.log(counts[1].per_inference / counts[0].per_inference)
            exact = Estimate(mean=ratio, half=0.0, count=1)
            checks.append(decide("slowdown", title_of(_newest(new).cell), exact, limit))
        elif old.keys() & new.keys():
            checks.append(_check(old, new, [_level(old, new)], limit))
        elif key[:2] != reference:
            first, second = _references(sides, (*reference, key[2], 1, 1, DEFAULT))
            checks.append(_check(old, new, [_level(first, old), _level(second, new)], limit))
    titles = [{k: title_of(_newest(r).cell) for k, r in each.items()} for each in (before, after)]
    return [*checks, *unmatched("slowdown", limit, sides, titles)]


def _cells(records: Iterable[Record]) -> dict[Identity, Runs]:
    """Return the runs of each cell: of its newest file, version and host only."""
    cells: dict[Identity, Runs] = {}
    for record in by_date(r for r in records if isinstance(r.payload, Latency | Instructions)):
        runs = cells.setdefault(identity_of(record.cell), {})
        if any(other.cell != record.cell for other in runs.values()):
            runs.clear()
        runs[record.conditions.run or record.conditions.date] = record
    return cells


def _newest(runs: Runs) -> Record:
    return next(reversed(runs.values()))


def _require_like_hosts(sides: Sequence[Side], before: Record, after: Record) -> None:
    """Raise UsageError for another processor or architecture."""
    hosts = [record.conditions.host for record in (before, after)]
    first, second = (f"{host.processor} ({host.machine})" for host in hosts)
    if first != second:
        raise UsageError(
            f"{sides[0].name} was measured on {first}, {sides[1].name} on {second}: latencies of "
            "different hosts cannot be compared"
        )


def _references(sides: Sequence[Side], key: Identity) -> list[Runs]:
    """Return the runs of the reference on each side; raises UsageError unless it is one file."""
    name, advice = "@".join(key[:2]), remedy("gate reference")
    found = [_cells(side.records).get(key) for side in sides]
    for side, runs in zip(sides, found, strict=True):
        if runs is None:
            raise UsageError(f"{side.name} has no latency of the reference {name}", remedy=advice)
    known = [runs for runs in found if runs is not None]
    if len({_newest(runs).cell.artifact_sha256 for runs in known}) > 1:
        both = " and ".join(side.name for side in sides)
        reason = f"the reference {name} is not the same file in {both}: its time may have changed"
        raise UsageError(reason, remedy=advice)
    return known


def _level(first: Runs, second: Runs) -> Level | str:
    """Compare two cells in the newest run that has both."""
    run = next((run for run in reversed(second) if run in first), None)
    if run is None:
        return "no run measured it together with the reference"
    return level_of(first[run], second[run])


def _check(before: Runs, after: Runs, levels: Sequence[Level | str], limit: float) -> Check:
    """Decide by one level, or by the difference of two."""
    old, new = _newest(before).cell, _newest(after).cell
    title, unlike = title_of(new), old.runtime_version != new.runtime_version
    note = f"{new.runtime} {new.runtime_version}, was {old.runtime_version}" if unlike else ""
    good = [each for each in levels if isinstance(each, Level)]
    if len(good) < len(levels):
        reason = next(each for each in levels if isinstance(each, str))
        return Check(kind="slowdown", cell=title, answer=UNKNOWN, limit=limit, reason=reason)
    mean = good[-1].mean - sum(level.mean for level in good[:-1])
    half = Z99 * math.sqrt(sum(level.variance for level in good))
    found = Estimate(mean=mean, half=half, count=min(level.rounds for level in good))
    return decide("slowdown", title, found, limit, note=note)

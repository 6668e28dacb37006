"""Compare latencies that were recorded: within one run, or by a reference that both runs have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

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
from hemline.contract.record import Latency, Record
from hemline.contract.settings import DEFAULT
from hemline.errors import UsageError, remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """The newest file of a cell, and every run that measured it in this version on such a host."""

    newest: Record
    runs: dict[str, Record]


def recorded_checks(
    sides: tuple[Side, Side], limit: float, *, reference: tuple[str, str], patterns: Sequence[str]
) -> list[Check]:
    """Return the slowdown of each cell of the second side.

    Cells of one run are compared as they are; those of different runs by their ratios to the
    reference (artifact, runtime), which must be the same file in both. Raises UsageError for
    records of unlike hosts, and where the reference is needed and missing.
    """
    _require_like_hosts(*sides)
    before, after = (_cells(side.selected(patterns).records) for side in sides)
    checks = []
    for key in (key for key in after if key in before):
        both = (before[key], after[key])
        if both[0].runs.keys() & both[1].runs.keys():
            checks.append(_check(both, [_levels(*both)], limit))
        elif key[:2] != reference:
            first, second = _references(sides, (*reference, key[2]))
            levels = [_levels(first, both[0]), _levels(second, both[1])]
            checks.append(_check(both, levels, limit))
    titles = [
        {key: title_of(cell.newest.cell) for key, cell in each.items()} for each in (before, after)
    ]
    return [*checks, *unmatched("slowdown", limit, sides, titles)]


def _cells(records: Iterable[Record]) -> dict[Identity, _Cell]:
    """Return the timed cells of the newest host of each device."""
    timed = by_date(r for r in records if isinstance(r.payload, Latency))
    newest = {identity_of(record.cell): record for record in timed}
    return {
        key: _Cell(
            newest=last,
            runs={
                record.conditions.run: record
                for record in timed
                if identity_of(record.cell) == key
                and record.conditions.run
                and _is_like(record, last)
            },
        )
        for key, last in newest.items()
    }


def _is_like(record: Record, last: Record) -> bool:
    """Return whether two records of a cell are of one file, version and kind of host."""
    cell, other = record.cell, last.cell
    same = (cell.artifact_sha256, cell.runtime_version) == (
        other.artifact_sha256,
        other.runtime_version,
    )
    return same and _host(record) == _host(last)


def _host(record: Record) -> str:
    host = record.conditions.host
    return f"{host.processor} ({host.machine})"


def _require_like_hosts(before: Side, after: Side) -> None:
    """Raise UsageError where a device is another kind of machine on the other side."""
    hosts = []
    for side in (before, after):
        timed = (r for r in side.records if isinstance(r.payload, Latency))
        hosts.append({record.cell.device: _host(record) for record in by_date(timed)})
    for device in hosts[0].keys() & hosts[1].keys():
        if hosts[0][device] != hosts[1][device]:
            raise UsageError(
                f"{before.name} was measured on {hosts[0][device]}, {after.name} on "
                f"{hosts[1][device]}: latencies of unlike hosts cannot be compared"
            )


def _references(sides: Sequence[Side], place: tuple[str, str, str]) -> list[_Cell]:
    """Return the reference of each side, with one thread and image; raises UsageError."""
    name, found = "@".join(place[:2]), []
    for side in sides:
        cells = _cells(side.records)
        if (cell := cells.get((*place, 1, 1, DEFAULT))) is None:
            reason = f"{side.name} has no latency of the reference {name}"
            raise UsageError(reason, remedy=remedy("gate reference"))
        found.append(cell)
    if len({cell.newest.cell.artifact_sha256 for cell in found}) > 1:
        both = " and ".join(side.name for side in sides)
        reason = f"the reference {name} is not the same file in {both}: its time may have changed"
        raise UsageError(reason, remedy=remedy("gate reference"))
    return found


def _levels(first: _Cell, second: _Cell) -> list[Level | str]:
    """Compare two cells in each run that has both."""
    common = first.runs.keys() & second.runs.keys()
    levels = [level_of(first.runs[run], second.runs[run]) for run in common]
    return levels or ["no run measured it together with the reference"]


def _check(
    both: tuple[_Cell, _Cell], levels: Sequence[Sequence[Level | str]], limit: float
) -> Check:
    """Decide by one list of levels, or by the difference of two."""
    old, new = (cell.newest.cell for cell in both)
    unlike = old.runtime_version != new.runtime_version
    note = f"{new.runtime} {new.runtime_version}, was {old.runtime_version}" if unlike else ""
    good = [[each for each in one if isinstance(each, Level)] for one in levels]
    if not all(good):
        reason = next(each for one in levels for each in one if isinstance(each, str))
        return Check(
            kind="slowdown", cell=title_of(new), answer=UNKNOWN, limit=limit, reason=reason
        )
    means = [fmean(level.mean for level in one) for one in good]
    error = math.sqrt(sum(_variance(one) / len(one) for one in good))
    found = Estimate(
        mean=means[-1] - (means[0] if len(means) > 1 else 0),
        half=Z99 * error,
        count=min(map(len, good)),
        unit="runs",
    )
    return decide("slowdown", title_of(new), found, limit, note=note)


def _variance(levels: Sequence[Level]) -> float:
    """Return the variance of a run: by its rounds, or by that of the runs where it is larger."""
    usual = fmean(level.variance for level in levels)
    seen = variance([level.mean for level in levels]) if len(levels) > 2 else 0.0
    return max(usual, seen)

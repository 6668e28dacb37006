"""The roofline of profiled cells as numbers: what each operator reaches, and what it could.

An operator that does I multiply-accumulates for each byte it moves reaches at most the smaller of
the peak of its arithmetic and I times the bandwidth (Williams, Waterman and Patterson, Roofline: an
Insightful Visual Performance Model, 2009). Roofs are those of the runtime on that machine. Values
that stay in the cache pass the roof of the bandwidth, which is that of the memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hemline.contract.profile import OperatorCost, Probe, Profile
from hemline.contract.record import Cell, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An operator or a whole cell.

    name: of the operator; the artifact of a whole cell, with its model where there are several.
    kind: of the operator; empty for a whole cell.
    dtype: of its arithmetic; of a whole cell, where most of its multiply-accumulates are done.
    ns: median time.
    share: of the cell's time, 0 … 1.
    macs: multiply-accumulates.
    intensity: multiply-accumulates for each byte; None where it does none.
    gmacs: 10⁹ multiply-accumulates a second; None likewise.
    """

    name: str
    kind: str
    dtype: str
    ns: int
    share: float
    macs: int
    intensity: float | None
    gmacs: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMarks:
    """A cell and its operators, in the order of the model.

    fixed_ns: of an invocation that computes nothing.
    """

    cell: Cell
    whole: Mark
    fixed_ns: int
    operators: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """Cells under the same roofs.

    title: runtime, version, and what else these cells have in common.
    probe: the roofs; None where they are not known.
    """

    title: str
    probe: Probe | None
    cells: tuple[CellMarks, ...]


def roofline(records: Iterable[Record]) -> tuple[Roofline, ...]:
    """Return the profiled cells by the roofs that they are under; those without times are left out.

    One runtime with the same settings on one host has the same roofs.
    """
    found: dict[tuple[str, str], list[tuple[Cell, Profile]]] = {}
    for record in records:
        cell, payload = record.cell, record.payload
        if isinstance(payload, Profile) and payload.whole_ns:
            found.setdefault((cell.host, _title(cell)), []).append((cell, payload))
    several = len({cell.model for pairs in found.values() for cell, _ in pairs}) > 1
    return tuple(
        Roofline(
            title=title,
            probe=next((p.probe for _, p in pairs if p.probe is not None), None),
            cells=tuple(_marks(*pair, several=several) for pair in pairs),
        )
        for (_, title), pairs in found.items()
    )


def _title(cell: Cell) -> str:
    threads = f"{cell.threads} threads" if cell.threads > 1 else ""
    device = "" if cell.device == "local" else cell.device
    runtime = f"{cell.runtime} {cell.runtime_version}"
    return ", ".join(filter(None, (runtime, cell.settings.text, threads, device)))


def _marks(cell: Cell, profile: Profile, *, several: bool) -> CellMarks:
    operators, whole_ns = profile.operators, profile.whole_ns or 1
    macs: Counter[str] = Counter()
    for each in operators:
        macs[each.dtype] += each.macs
    whole = OperatorCost(
        name=f"{cell.model} {cell.artifact}" if several else cell.artifact,
        kind="",
        ns=whole_ns,
        instructions=None,
        macs=macs.total(),
        bytes=sum(each.bytes for each in operators),
        dtype=max(macs, key=lambda dtype: macs[dtype], default=""),
        runs_on="",
    )
    marks = tuple(_mark(each, whole_ns) for each in operators)
    fixed_ns = 0 if profile.probe is None else profile.probe.fixed_ns
    return CellMarks(cell=cell, whole=_mark(whole, whole_ns), fixed_ns=fixed_ns, operators=marks)


def _mark(cost: OperatorCost, whole_ns: int) -> Mark:
    ns = cost.ns or 0
    computes = cost.macs > 0 and cost.bytes > 0 and ns > 0
    return Mark(
        name=cost.name,
        kind=cost.kind,
        dtype=cost.dtype,
        ns=ns,
        share=ns / whole_ns,
        macs=cost.macs,
        intensity=cost.macs / cost.bytes if computes else None,
        gmacs=cost.macs / ns if computes else None,
    )

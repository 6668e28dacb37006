"""The tables of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hemline.bench.comparison import P, Row
from hemline.bench.report.page.cells import WHO, Column, table_of
from hemline.contract.job import HostFacts
from hemline.contract.record import (
    Accuracy,
    Arena,
    Energy,
    Instructions,
    Latency,
    Memory,
    Sustained,
)
from hemline.small_sets import interval_text
from hemline.tables import CHANGE, Figure, Table, change, kilobytes, microseconds, percent


def _of(name: str, kind: type[P], text: Callable[[P], str]) -> Column:
    """Return a column of a payload; empty where it was not measured."""

    def found(each: Row) -> str:
        payload = each.get(kind)
        return "" if payload is None else text(payload)

    return f">{name}", found, True


def _number(name: str, kind: type[Any], field: str, unit: str, scale: float) -> Column:
    """Return a column with a field of a payload, divided by a scale, in a unit."""

    def text(payload: Any) -> str:
        value = getattr(payload, field)
        return "" if value is None else Figure(f"{value / scale:,.2f} {unit}", value / scale, unit)

    return _of(name, kind, text)


def _accuracy(each: Row) -> str:
    test, source = each.test, each.model.source
    part = "" if source is None or source.test.images == test.images else f" of {test.images:,}"
    return "" if test.share is None else f"{percent(test.share)}{part}"


def _interval(test: Accuracy) -> str:
    return "" if test.correct is None else interval_text(test.correct, test.images)


def _change(each: Row) -> str:
    drop = None if each.model.source is None else each.test.drop_points
    return "" if drop is None else change(drop)


def _time(name: str) -> Column:
    def text(each: Row) -> str:
        value = getattr(each.latency, f"{name}_us", None)
        return "" if value is None else f"{value:,.{1 if value < 100 else 0}f} µs"

    return f">{name}", text, True


def _celsius(millicelsius: Iterable[int]) -> str:
    hottest = max(millicelsius, default=None)
    return "" if hottest is None else f"{hottest / 1000:.0f} °C"


CELLS: tuple[Column, ...] = (
    *WHO,
    (">size", lambda each: kilobytes(each.cell.size_bytes), True),
    (">accuracy", _accuracy, True),
    _of("95 % interval", Accuracy, _interval),
    (f">{CHANGE}", _change, True),
    _of("agreement", Accuracy, lambda test: percent(test.agreement / test.images)),
    *map(_time, ("median", "p90", "p99")),
    _number("instructions", Instructions, "per_inference", "M", 1e6),
    ("runs on", lambda each: each.conditions.delegate.replace("ExecutionProvider", ""), True),
)
MEMORY: tuple[Column, ...] = (
    *WHO,
    _number("process", Memory, "process_ns", "ms", 1e6),
    _number("import", Memory, "import_ns", "ms", 1e6),
    _number("load", Memory, "load_ns", "ms", 1e6),
    _number("first inference", Memory, "first_ns", "ms", 1e6),
    _number("peak memory", Memory, "peak_bytes", "MB", 1e6),
    _number("steady memory", Memory, "steady_bytes", "MB", 1e6),
    _number("runtime package", Memory, "package_bytes", "MB", 1e6),
    _number("tensor arena", Arena, "bytes", "kB", 1e3),
)
# few cells have these, mostly on one device
_WHERE = tuple((name, text, always or name == "device") for name, text, always in WHO)
ENERGY: tuple[Column, ...] = (
    *_WHERE,
    _number("energy of an inference", Energy, "joules_per_inference", "µJ", 1e-6),
    _number("idle", Energy, "idle_watts", "W", 1),
    _number("busy", Energy, "busy_watts", "W", 1),
    _of("source", Energy, lambda energy: energy.source),
)
SUSTAINED: tuple[Column, ...] = (
    *_WHERE,
    _of("duration", Sustained, lambda run: f"{run.seconds[-1]:.0f} s"),
    _of("at first", Sustained, lambda run: microseconds(run.medians_ns[0] / 1000)),
    _of("at the end", Sustained, lambda run: microseconds(run.medians_ns[-1] / 1000)),
    _of("times", Sustained, lambda run: f"{run.medians_ns[-1] / run.medians_ns[0]:.2f}"),
    _of("hottest", Sustained, lambda run: _celsius(run.temperatures_millicelsius)),
)


def of_payload(cells: Iterable[Row], columns: Sequence[Column], *kinds: type[Any]) -> Table:
    """Return a table of the cells that have a payload of one of the kinds."""
    return table_of([each for each in cells if any(map(each.get, kinds))], columns)


def hosts_table(cells: Iterable[Row]) -> Table:
    """Return the facts of each machine that was measured on, as it reported them last."""
    dated = sorted(cells, key=lambda cell: cell.conditions.date)
    hosts = {each.cell.device: each.conditions.host for each in dated}
    return Table.of(
        ("device", "machine", "?>memory", "at the end of the measurement"),
        (
            (
                device,
                f"{host.name} ({host.machine})",
                "" if host.memory_bytes is None else f"{host.memory_bytes / 1e9:.1f} GB",
                _state(host),
            )
            for device, host in hosts.items()
        ),
    )


def runs_table(cells: Iterable[Row]) -> Table:
    """Return what happened in each run: rounds, those that were disturbed, the A/A pair."""
    runs: dict[tuple[str, str], list[Row]] = {}
    for each in cells:
        if each.latency:
            run = each.conditions.run or each.conditions.date[:10]
            runs.setdefault((each.cell.device, run), []).append(each)
    names = ("device", "run", ">cells", ">rounds", ">invocations", "?disturbed", "?A/A pair")
    return Table.of(names, (_run(device, members) for (device, _), members in runs.items()))


def _run(device: str, members: Sequence[Row]) -> tuple[str, ...]:
    latencies = [found for each in members if (found := each.get(Latency))]
    facts = [fact for latency in latencies for fact in latency.facts]
    reasons = Counter(fact.disturbed for fact in facts if fact.disturbed is not None)
    why = f", mostly: {reasons.most_common(1)[0][0]}" if reasons else ""
    pair, checked = members[0].conditions.pair, ""
    if pair is not None:
        state = "holds 1" if pair.held else "does not hold 1: the times say little"
        again = ", at the second try" if pair.retried else ""
        checked = f"{pair.ratio:.3f} ({pair.low:.3f}–{pair.high:.3f}), {state}{again}"
    return (
        device,
        members[0].conditions.date[:16].replace("T", " "),
        str(len(members)),
        _span(len(each.rounds_ns) for each in latencies),
        _span(len(round_ns) for each in latencies for round_ns in each.rounds_ns),
        f"{reasons.total()} of {len(facts)}{why}" if facts else "",
        checked,
    )


def _span(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"


def _state(host: HostFacts) -> str:
    parts = (
        host.governor,
        host.frequency_khz and f"{host.frequency_khz / 1000:.0f} MHz",
        _celsius(filter(None, [host.temperature_millicelsius])),
        None if host.load_average is None else f"load {host.load_average:.2f}",
        "throttled" if host.throttled else None,
    )
    return ", ".join(part for part in parts if part)

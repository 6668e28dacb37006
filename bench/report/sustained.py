"""A sustained run as a sentence and as a picture: latency, temperature and frequency over time."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from hemline.contract.record import Energy, Record, Sustained
from hemline.figures import BLUE, GREEN, VERMILION, Heading, drawn

_PART = 10  # the first and the last tenth are compared


def sustained_lines(records: Sequence[Record]) -> Iterator[str]:
    """Yield a sentence for each sustained run, and one for its energy."""
    for record in records:
        name, payload = f"{record.cell.artifact} in {record.cell.runtime}", record.payload
        if isinstance(payload, Sustained):
            first, last = _ends_us(payload)
            heat = [f"{each / 1000:.0f}" for each in payload.temperatures_millicelsius]
            yield (
                f"{name} for {payload.seconds[-1]:.0f} s: {first:.1f} µs in the first tenth, "
                f"{last:.1f} µs in the last ({last / first - 1:+.1%})"
                f"{f', {heat[0]} to {heat[-1]} °C' if heat else ''}"
            )
        if isinstance(payload, Energy):
            yield (
                f"{name}: {1000 * payload.joules_per_inference:.3g} mJ an inference, "
                f"{payload.busy_watts:.2f} W against {payload.idle_watts:.2f} idle "
                f"({payload.source})"
            )


def _ends_us(payload: Sustained) -> tuple[float, float]:
    """Return the median latency of the first and of the last tenth, µs."""
    tenth = max(1, len(payload.medians_ns) // _PART)
    parts = payload.medians_ns[:tenth], payload.medians_ns[-tenth:]
    first, last = (statistics.median(part) / 1000 for part in parts)
    return first, last


def draw_sustained(record: Record, path: Path) -> None:
    """Write a PNG with a panel for each series that is known; raises HemlineError."""
    payload, cell = record.payload, record.cell
    assert isinstance(payload, Sustained)  # noqa: S101 — the caller chose it
    series = [
        ("latency, µs", BLUE, [each / 1e3 for each in payload.medians_ns]),
        ("temperature, °C", VERMILION, [each / 1e3 for each in payload.temperatures_millicelsius]),
        ("frequency, MHz", GREEN, [each / 1e3 for each in payload.frequencies_khz]),
    ]
    known = [each for each in series if each[2]]
    first, last = _ends_us(payload)
    heading = Heading(
        title=f"{cell.artifact} in {cell.runtime} {cell.runtime_version} without a pause: "
        f"latency {100 * (last / first - 1):+.1f} % from the first tenth to the last",
        subtitle=f"{record.conditions.host.processor}, {cell.host.split(', ')[1]}, "
        f"{record.conditions.date[:10]}, medians of {len(payload.seconds)} slices",
    )
    with drawn(path, heading, width=8, height=1.2 + 1.6 * len(known)) as figure:
        panels = figure.subplots(len(known), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (label, colour, values) in zip(panels, known, strict=True):
            axes.plot(payload.seconds, values, color=colour, linewidth=1.2)
            low, high = min(values), max(values)
            room = max(0.05 * high, 0.15 * (high - low))  # noise shall not look like a change
            axes.set(ylabel=label, ylim=(low - room, high + room))
            if high >= 1000:
                axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.grid(visible=True)
        panels[-1].set(xlabel="seconds", xlim=(0, 1.02 * payload.seconds[-1]))

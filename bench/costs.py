"""What the files on a device are compared by: time, instructions, or the tensor arena."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hemline.bench.latency_summary import summarize
from hemline.contract.record import Arena, Instructions, Latency
from hemline.tables import Figure, kilobytes, microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A row of the MEASURES table.

    name: in table headers and sentences.
    payload: the kind of record payload that has it.
    axis: by the least value, the divisor and the label of an axis.
    value: of a payload: microseconds, instructions or bytes.
    text: of a value in a table.
    words: of a value in a sentence.
    limits: a sentence on what it cannot tell; empty for time.
    """

    name: str
    payload: type[Any]
    axis: Callable[[float], tuple[float, str]]
    value: Callable[[Any], float]
    text: Callable[[float], str]
    words: Callable[[float], str]
    limits: str = ""

    def ratio(self, ratio: float) -> str:
        """Return the ratio of a value to another in a sentence, before the name of the other."""
        if self.payload is not Latency:
            return f"takes {ratio:.2f} × the {self.name} of"
        faster = ratio <= 1 / 1.05
        return f"is {1 / ratio:.1f} × as fast as" if faster else f"is {ratio:.1f} × the time of"


def _latency_axis(least_us: float) -> tuple[float, str]:
    scale, unit = (1000.0, "ms") if least_us >= 1000 else (1.0, "µs")
    return scale, f"← faster    latency of one image, {unit} (median, one thread, log scale)"


MEASURES = (  # the first one that a device has is what its files are compared by
    Measure(
        name="latency",
        payload=Latency,
        axis=_latency_axis,
        value=lambda latency: summarize(latency).median_us,
        text=microseconds,
        words=microseconds,
    ),
    Measure(
        name="instructions",
        payload=Instructions,
        axis=lambda _: (1e6, "← fewer    instructions of one image, millions (log scale)"),
        value=lambda count: float(count.per_inference),
        text=lambda value: Figure(f"{value / 1e6:.2f} M instr.", value, "instructions"),
        words=lambda value: f"{value / 1e6:.2f} million instructions",
        limits="Instructions count work, not time: some take longer than others, and memory can be "
        "slower than all of them. Which file is faster shows on a real board only "
        "(ssh:user@host).",
    ),
    Measure(
        name="tensor arena",
        payload=Arena,
        axis=lambda _: (1e3, "← smaller    tensor arena, kB (log scale)"),
        value=lambda arena: float(arena.bytes),
        text=lambda value: Figure(f"{value / 1000:.1f} kB arena", value / 1000, "kB"),
        words=lambda value: f"{kilobytes(int(value))} of tensor arena",
        limits="The tensor arena is memory: it does not show which file is faster.",
    ),
)
COSTS = tuple(each.payload for each in MEASURES)

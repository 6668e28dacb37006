"""Where the time of a cell goes: its operators, what ran them, what an intervention changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCost:
    """One operator of a model, run alone or between two prefixes of it.

    name: of its first output.
    kind: CONV_2D, QLinearConv, ….
    ns: median time, nanoseconds; None where only instructions are counted.
    instructions: machine instructions; None where time is measured.
    macs: multiply-accumulate operations.
    bytes: of its inputs, weights and outputs.
    dtype: of its arithmetic: int8, float32, ….
    runs_on: the delegate or the kind of kernel that computes it.
    """

    name: str
    kind: str
    ns: int | None
    instructions: int | None
    macs: int
    bytes: int
    dtype: str
    runs_on: str

    @property
    def gmacs(self) -> float | None:
        """Return 10⁹ multiply-accumulates a second; None where it does none or was not timed."""
        return self.macs / self.ns if self.macs and self.ns else None

    @property
    def intensity(self) -> float | None:
        """Return multiply-accumulates for each byte; None where it does none."""
        return self.macs / self.bytes if self.macs and self.bytes else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a runtime reaches on a machine at most, by models of one operator.

    fixed_ns: of an invocation that computes nothing.
    float_gmacs, int8_gmacs: 10⁹ multiply-accumulate operations a second, one thread; None where
        the runtime has no such kernel.
    gigabytes: 10⁹ bytes a second that it reads and writes.
    """

    fixed_ns: int
    float_gmacs: float | None
    int8_gmacs: float | None
    gigabytes: float | None

    def peak_of(self, dtype: str) -> float | None:
        """Return what it reaches in the arithmetic of an operator; None where it has no kernel."""
        return self.int8_gmacs if dtype in ("int8", "uint8") else self.float_gmacs


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervention:
    """One thing that was changed, and the time before and after it, in interleaved rounds.

    name: of what was changed, in a few words.
    before_ns, after_ns: medians.
    ratio, low, high: after to before, with its 99 % interval.
    """

    name: str
    before_ns: int
    after_ns: int
    ratio: float
    low: float
    high: float

    @property
    def changed(self) -> bool:
        """Return whether the time changed by more than the noise."""
        return not self.low <= 1 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A cause of a cell's time.

    cause: name in the CAUSES table.
    proven: whether an intervention changed the time by more than the noise.
    sentence: what it is, for the user.
    remedy: what to do about it; empty where nothing helps.
    share: of the cell's time that it explains, 0 … 1; None where that is not known.
    """

    cause: str
    proven: bool
    sentence: str
    remedy: str
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the time of a cell goes, and why.

    whole_ns: median of the whole model in the same rounds; None where only instructions are
        counted.
    whole_instructions: of one inference likewise.
    operators: in the order of the model.
    partitions: indices of the operators that each delegate took over.
    fusion: kind of node in the optimized graph to their number; empty for TFLite.
    probe: of the runtime on this machine; None where it could not run.
    interventions, findings: in the order in which they were made.
    """

    KIND: ClassVar[str] = "profile"

    whole_ns: int | None
    whole_instructions: int | None
    operators: tuple[OperatorCost, ...]
    partitions: tuple[tuple[int, ...], ...]
    fusion: dict[str, int]
    probe: Probe | None
    interventions: tuple[Intervention, ...]
    findings: tuple[Finding, ...]

    @property
    def whole(self) -> OperatorCost:
        """Return the model as if it were one operator."""
        return OperatorCost(
            name="",
            kind="",
            ns=self.whole_ns,
            instructions=self.whole_instructions,
            macs=sum(each.macs for each in self.operators),
            bytes=sum(each.bytes for each in self.operators),
            dtype="",
            runs_on="",
        )

    @property
    def explained(self) -> float | None:
        """Return the fixed cost and all operators' times as a share of the whole, if known."""
        fixed_ns = 0 if self.probe is None else self.probe.fixed_ns
        return explained_share(self.whole_ns, self.operators, fixed_ns)


def explained_share(
    whole_ns: int | None, operators: Sequence[OperatorCost], fixed_ns: int
) -> float | None:
    """Return the fixed cost and all operators' times as a share of the whole, if known."""
    times = [each.ns for each in operators if each.ns is not None]
    if not whole_ns or not times or len(times) < len(operators):
        return None
    return (fixed_ns + sum(times)) / whole_ns

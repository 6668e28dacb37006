"""A gate: every limit that was set, for every cell that was selected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hemline.bench.devices.device import Device
from hemline.bench.gate.decision import UNKNOWN, Answer, Check, Kind
from hemline.bench.gate.figures import accuracy_checks, memory_checks, size_checks
from hemline.bench.gate.interleaved import interleaved_checks
from hemline.bench.gate.recorded import recorded_checks
from hemline.bench.gate.side import Side
from hemline.bench.records import require_measured
from hemline.errors import EvidenceError, GateError

_NAMED = 3  # checks in a message: the table has all


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What must hold; a limit that is None is not checked.

    max_slowdown: ratio of latencies.
    max_drop: points of accuracy.
    max_kb, max_memory_mb: of 1000 and 1,000,000 bytes.
    patterns: artifacts and runtimes to check; empty for all.
    reference: artifact and runtime that records of different runs are compared by.
    rounds: at most, of two bundles that are measured.
    """

    max_slowdown: float | None = None
    max_drop: float | None = None
    max_kb: float | None = None
    max_memory_mb: float | None = None
    patterns: tuple[str, ...] = ()
    reference: tuple[str, str] = ("fp32.tflite", "litert")
    rounds: int = 24


def run_gate(
    sides: tuple[Side, Side], request: GateRequest, device: Device, progress: Callable[[str], None]
) -> tuple[Check, ...]:
    """Check the second side against the first; of two bundles, latencies are measured now.

    Raises UsageError when nothing of a side is selected, and as the parts do.
    """
    patterns = request.patterns
    before, after = (side.on(device).selected(patterns) for side in sides)
    checks: list[Check] = []
    peaks: dict[str, int] = {}
    if (limit := request.max_slowdown) is not None:
        if before.subject and after.subject and device.capabilities.latencies:
            found, peaks = interleaved_checks(
                (before, after),
                device,
                limit,
                rounds=request.rounds,
                patterns=patterns,
                progress=progress,
            )
        else:
            for subject in (side.subject for side in sides if not device.capabilities.latencies):
                if subject is not None:
                    require_measured([subject], device.name)
            found = recorded_checks(sides, limit, reference=request.reference, patterns=patterns)
        checks += found or _nothing("slowdown", limit)
    if (limit := request.max_drop) is not None:
        checks += accuracy_checks((before, after), limit) or _nothing("accuracy", limit)
    if (limit := request.max_kb) is not None:
        checks += size_checks(after, limit)
    if (limit := request.max_memory_mb) is not None:
        checks += memory_checks(after, limit, peaks) or _nothing("memory", limit)
    return tuple(checks)


def _nothing(kind: Kind, limit: float) -> list[Check]:
    """Return a check without an answer: a limit that nothing was measured for must not pass."""
    reason = "no measurement to check it with"
    return [Check(kind=kind, cell="all", answer=UNKNOWN, limit=limit, reason=reason)]


def summary(checks: Sequence[Check]) -> str:
    """Return the answer in all, and how often each one was given."""
    counts = Counter(check.answer for check in checks)
    numbers = ", ".join(f"{count} {answer}" for answer, count in counts.most_common())
    return f"{_answer(checks)} ({len(checks)} checks: {numbers})"


def require_passed(checks: Sequence[Check]) -> None:
    """Raise GateError when a check failed, EvidenceError when one has no answer."""
    answer = _answer(checks)
    cells = [f"{check.kind} of {check.cell}" for check in checks if check.answer == answer]
    more = f"; and {len(cells) - _NAMED} more" if len(cells) > _NAMED else ""
    count, named = f"{len(cells)} of {len(checks)} checks", "; ".join(cells[:_NAMED]) + more
    if answer == "failed":
        raise GateError(f"{count} failed: {named}")
    if answer == UNKNOWN:
        raise EvidenceError(f"{count} have not enough evidence: {named}")


def _answer(checks: Sequence[Check]) -> Answer:
    answers = {check.answer for check in checks}
    order: tuple[Answer, ...] = ("failed", UNKNOWN, "passed")
    return next((answer for answer in order if answer in answers), UNKNOWN)

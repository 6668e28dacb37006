"""The budget of an artifact to ship, and the choice within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hemline.errors import GateError, UsageError

USUAL_DROP_POINTS = 0.5  # of validation accuracy, that a file may lose where nobody says more
SAME_SPEED = 1.05  # medians closer than this are one speed here: rounds of one cell differ as much


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What an artifact may cost; None where anything goes.

    max_drop_points: accuracy lost against the source model on validation, percentage points;
        it does not limit a candidate whose loss is not known.
    max_kb: file size, 1000 bytes.
    max_ms: median latency, milliseconds.
    artifacts: names of the files to choose from; empty for all.
    """

    max_drop_points: float | None = USUAL_DROP_POINTS
    max_kb: float | None = None
    max_ms: float | None = None
    artifacts: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the limits that there are."""
        limits = {"kB": self.max_kb, "ms": self.max_ms}
        parts = [f"{limit:g} {unit}" for unit, limit in limits.items() if limit is not None]
        if self.max_drop_points is not None:
            parts.append(f"a loss of {self.max_drop_points:g} points of accuracy")
        return f"a budget of {', '.join(parts) or 'anything'}"

    def __post_init__(self) -> None:
        for name in ("max_drop_points", "max_kb", "max_ms"):
            limit = getattr(self, name)
            if limit is not None and not limit >= 0:  # nor is NaN one
                raise UsageError(f"{name} must be 0 or more, not {limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An artifact in a runtime, with what the budget limits.

    artifact: file name.
    runtime: name in the BACKENDS table.
    size_bytes: of the file.
    drop_points: accuracy lost against the source model on validation (of several models, against
        the most accurate one), percentage points; None where the images have no labels, or there
        is no source model.
    median_us: median latency at batch 1, one thread, microseconds; None where it was not measured.
    instructions, arena_bytes: of one inference, on a device that reports these.
    device: that it was measured on.
    model: that the artifact is of, where there are several; empty where there is one.
    validation_images: that the drop is of; None where it is not known.
    against: model that the drop is against, where it is another one; empty where it is its own.
    """

    artifact: str
    runtime: str
    size_bytes: int
    drop_points: float | None
    median_us: float | None
    instructions: int | None = None
    arena_bytes: int | None = None
    device: str = "local"
    model: str = ""
    validation_images: int | None = None
    against: str = ""

    @property
    def cost(self) -> float:
        """Return what candidates are compared by: time, else instructions, else the arena."""
        costs = (self.median_us, self.instructions, self.arena_bytes)
        return next((each for each in costs if each is not None), float("inf"))

    @property
    def title(self) -> str:
        """Return what it is, for messages."""
        where = "" if self.device == "local" else f" on {self.device}"
        return f"{self.model + ' ' if self.model else ''}{self.artifact} in {self.runtime}{where}"


def over_budget(candidate: Candidate, budget: Budget) -> str | None:
    """Return why a candidate may not ship, or None when it may."""
    images, against = candidate.validation_images, candidate.against
    if (reason := over_drop(candidate.drop_points, budget, images)) is not None:
        return f"{reason}{f' against {against}' if against else ''}"
    if budget.max_kb is not None and candidate.size_bytes > budget.max_kb * 1000:
        return f"has {candidate.size_bytes / 1000:.0f} kB (budget {budget.max_kb:g})"
    if budget.max_ms is not None:
        if candidate.median_us is None:
            raise UsageError(
                f"{candidate.device} reports no times: a limit in ms needs a real device"
            )
        if candidate.median_us > budget.max_ms * 1000:
            return f"takes {candidate.median_us / 1000:.3f} ms (budget {budget.max_ms:g})"
    return None


def over_drop(drop_points: float | None, budget: Budget, images: int | None = None) -> str | None:
    """Return why a loss of accuracy (of agreement without labels) is too large, or None.

    images: of the validation split that it is of; None where they are not known.
    """
    most = budget.max_drop_points
    if drop_points is None or most is None or drop_points <= most:
        return None
    if images is None:
        return f"loses {drop_points:.2f} points of validation accuracy ({most:g} allowed)"
    less = ", less than one image" if most and most * images < 100 else ""
    return (
        f"loses {drop_points * images / 100:,.0f} of {images:,} validation images "
        f"({drop_points:.2f} points; {most:g} allowed{less})"
    )


def choose(candidates: Sequence[Candidate], budget: Budget) -> Candidate:
    """Return the cheapest candidate within the budget; of equally cheap ones the smallest.

    Raises GateError with the reason of each when none fits.
    """
    candidates = [c for c in candidates if c.artifact in (budget.artifacts or (c.artifact,))]
    fitting = [c for c in candidates if over_budget(c, budget) is None]
    if not fitting:
        reasons = "".join(f"\n  {c.title} {over_budget(c, budget)}" for c in candidates)
        wanted = f"none of {', '.join(budget.artifacts)}" if budget.artifacts else "nothing"
        raise GateError(f"no artifact fits the budget:{reasons or f' {wanted} was measured'}")
    least = min(c.cost for c in fitting)
    as_fast = [c for c in fitting if c.cost <= least * SAME_SPEED]
    return min(as_fast, key=lambda c: (c.size_bytes, c.cost))

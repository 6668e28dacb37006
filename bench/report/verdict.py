"""Say which file to ship and why, in sentences that follow from the records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hemline.bench.comparison import Comparison, Row, candidates, correct
from hemline.contract.budget import Budget, Candidate, choose, over_budget
from hemline.statistics import paired_drop
from hemline.tables import percent, signed


def recommend(comparison: Comparison, budget: Budget) -> Candidate:
    """Return the candidate to ship within a budget; raises GateError when none fits."""
    return choose(candidates(comparison), budget)


def explain(
    comparison: Comparison,
    budget: Budget,
    chosen: Candidate,
    test_labels: npt.NDArray[np.uint8] | None,
) -> tuple[str, ...]:
    """Return the reasons: speed and size against fp32, the drop and its interval, what is left out.

    test_labels: class indices of the test images (n,); None where they are not known.
    """
    headline, *against = summarize_choice(comparison, chosen)
    reasons = [headline, _accuracy_reason(comparison, chosen, test_labels), *against]
    for other in candidates(comparison):
        reason = over_budget(other, budget)
        if reason is not None:
            reasons.append(f"Left out: {other.artifact} in {other.runtime} {reason}.")
    return tuple(reasons)


def summarize_choice(comparison: Comparison, chosen: Candidate) -> list[str]:
    """Return what to ship in a sentence, and one that compares it with the best float file."""
    row = _find(comparison, chosen)
    accuracy = "" if row.accuracy is None else f", {percent(row.accuracy)} on test"
    headline = (
        f"Ship {chosen.artifact} with {chosen.runtime} {row.cell.runtime_version}: "
        f"{chosen.median_us:.0f} µs, {chosen.size_bytes / 1000:.1f} kB{accuracy}."
    )
    floats = [
        row for row in comparison.rows if row.cell.artifact.startswith("fp32.") and row.latency
    ]
    if not floats or chosen.artifact.startswith("fp32."):
        return [headline]
    best = min(floats, key=lambda row: row.median_us)
    ratio = best.median_us / chosen.median_us
    speed = f"{ratio:.1f} × as fast as" if ratio >= 1.05 else f"{1 / ratio:.1f} × the time of"
    size = best.cell.size_bytes / chosen.size_bytes
    smaller = f"{size:.1f} × smaller" if size >= 1 else f"{1 / size:.1f} × larger"
    against = f"It is {speed} the best float file ({best.name}) and {smaller}."
    return [headline, against]


def _accuracy_reason(
    comparison: Comparison, chosen: Candidate, labels: npt.NDArray[np.uint8] | None
) -> str:
    """Return how the choice changes the accuracy, or why that is not known."""
    test, source = _find(comparison, chosen).test, comparison.source
    if labels is None or test.correct is None:
        return "It was chosen by latency and size alone: without labels its accuracy is not known."
    if source is None or chosen.drop_points is None:
        return "It was chosen by latency and size alone: there is no source model to compare with."
    drop, margin = paired_drop(correct(source.test, labels)[: test.images], correct(test, labels))
    return (
        f"It changes accuracy by {signed(-drop)} ± {margin:.2f} points on test (paired, 95 %) "
        f"and by {signed(-chosen.drop_points)} on validation, where it was chosen."
    )


def _find(comparison: Comparison, chosen: Candidate) -> Row:
    wanted = (chosen.artifact, chosen.runtime)
    return next(row for row in comparison.rows if row.identity == wanted)

"""Say which file to ship and why, in sentences that follow from the records."""

from __future__ import annotations

from hemline.bench.accuracy.change import change_of
from hemline.bench.causes.verdict import reasons as because
from hemline.bench.comparison import Comparison, Row, candidate_of
from hemline.contract.budget import SAME_SPEED, Budget, Candidate, choose, over_budget, over_drop
from hemline.small_sets import accuracy_text, changed_text, few_images
from hemline.tables import change, kilobytes, p_text, percent


def recommend(comparison: Comparison, budget: Budget) -> Row:
    """Return the row to ship within a budget; raises GateError when none fits."""
    rows = {candidate_of(comparison, row): row for row in comparison.rows if row.is_measured}
    return rows[choose(tuple(rows), budget)]


def explain(comparison: Comparison, budget: Budget, chosen: Row) -> tuple[str, ...]:
    """Return the reasons: speed, drop and size against float, causes, and what is left out.

    The interval needs the labels of the chosen row's model.
    """
    headline, *against = summarize_choice(comparison, chosen)
    reasons = [
        headline,
        _accuracy_reason(comparison, chosen),
        *against,
        *_more_accurate(comparison, chosen),
        *filter(None, (chosen.measure.limits,)),
    ]
    reasons += [*_tuned(comparison, chosen), *because(chosen, comparison.rows)]
    for row in (each for each in comparison.rows if each.is_measured):
        other = candidate_of(comparison, row)
        reason = over_budget(other, budget)
        if reason is not None and other.artifact in (budget.artifacts or (other.artifact,)):
            reasons.append(f"Left out: {other.title} {reason}.{_on_test(row, other, budget)}")
    reasons += (f"Left out: {line}." for line in unmeasured(comparison))
    return tuple(reasons)


def unmeasured(comparison: Comparison) -> list[str]:
    """Return a phrase for each model that nothing can be chosen of."""
    measured = {row.model.name for row in comparison.rows if row.is_measured}
    missing = [each.name for each in comparison.models if each.name not in measured]
    return [f"no file of {name} passed and was measured on {comparison.where}" for name in missing]


def _on_test(row: Row, candidate: Candidate, budget: Budget) -> str:
    """Return what a file that loses too much on validation loses on test, as tables show that."""
    own = row.test.drop_points
    if own is None or candidate.against or over_drop(candidate.drop_points, budget) is None:
        return ""
    lost = round(own * row.test.images / 100)
    what = f"loses {lost:,}" if lost > 0 else f"wins {-lost:,}" if lost < 0 else "loses none"
    return f" On test it {what} of {row.test.images:,}."


def summarize_choice(comparison: Comparison, chosen: Row) -> list[str]:
    """Return what to ship in a sentence, and one that compares it with the best float file.

    That is the fastest float file of the same model.
    """
    cell, test = chosen.cell, chosen.test
    share = "" if test.correct is None else f", {accuracy_text(test.correct, test.images)} on test"
    model = comparison.label(chosen.model)
    headline = (
        f"Ship {cell.artifact}{' of ' if model else ''}{model} with {cell.runtime} "
        f"{cell.runtime_version}: {chosen.measure.words(chosen.cost)} on {comparison.where}, "
        f"{kilobytes(cell.size_bytes)}{share}."
    )
    own = (row for row in comparison.rows if row.model == chosen.model and row.is_measured)
    floats = [row for row in own if row.cell.artifact.startswith("fp32.")]
    if not floats or cell.artifact.startswith("fp32."):
        return [headline]
    best = min(floats, key=lambda row: row.cost)
    cheaper = chosen.measure.ratio(chosen.cost / best.cost)
    size = best.cell.size_bytes / cell.size_bytes
    also = "" if cheaper.startswith("is ") else "is "
    smaller = f"{size:.1f} × smaller" if size >= 1 else f"{1 / size:.1f} × larger"
    return [headline, f"It {cheaper} the best float file ({best.name}) and {also}{smaller}."]


def _more_accurate(comparison: Comparison, chosen: Row) -> list[str]:
    """Return a sentence on the most accurate file of another model, if it is more accurate."""
    others = [row for row in comparison.rows if row.is_measured and row.model != chosen.model]
    best = max(others, key=lambda row: (row.quality, -row.cost), default=chosen)
    if best.accuracy is None or best.quality <= chosen.quality:
        return []
    what = "time" if chosen.latency else chosen.measure.name
    where = f"{best.name}, in {best.cost / chosen.cost:.1f} × the {what}"
    return [f"{best.model.name} is more accurate: {percent(best.accuracy)} on test with {where}."]


def _tuned(comparison: Comparison, chosen: Row) -> list[str]:
    """Return a sentence on the settings in which the chosen file is faster, if there are any."""
    cell = chosen.cell
    own = [
        each for each in comparison.variants if each.cell.artifact_sha256 == cell.artifact_sha256
    ]
    alike = [each for each in own if each.cell.threads == each.cell.batch == 1]
    best = min(alike, key=lambda row: row.cost, default=chosen)
    if best.cost * SAME_SPEED > chosen.cost:
        return []
    return [
        f"With {best.settings} it takes {best.measure.words(best.cost)} in {best.cell.runtime}."
    ]


def _accuracy_reason(comparison: Comparison, chosen: Row) -> str:
    """Return how the choice changes the accuracy, or why that is not known."""
    found, loss = change_of(chosen), chosen.validation.drop_points
    to_best = candidate_of(comparison, chosen).drop_points
    alone = f"It was chosen by {chosen.measure.name} and size alone"
    if chosen.model.labels is None or chosen.test.correct is None:
        return f"{alone}: without labels its accuracy is not known."
    if found is None and to_best is not None:
        return (
            f"It changes accuracy by {change(to_best)} points on these images, against the most "
            "accurate file."
        )
    if found is None or loss is None:
        return f"{alone}: there is no source model to compare with."
    worst = found.worst
    in_class = (
        ""
        if worst is None
        else f" Class {worst.name} loses most: {worst.lost} of its {worst.images:,} images, and "
        f"wins {worst.won} ({p_text(worst.p_value)}, corrected for {len(found.classes)} classes)."
    )
    if few_images(found.images) or not found.flips:
        lost = f"{found.lost} of {found.images} images lost, {found.won} won"
        points = f"It changes accuracy by {change(found.drop_points)} points on test ({lost}): "
        points *= bool(found.lost or found.won)
        count = chosen.validation.images
        few = " (unproven: too few)" if few_images(count, "validation") else ""
        return (
            f"{points}{changed_text(len(found.flips), found.images)}. On {count:,} validation "
            f"images, where it was chosen, it changes accuracy by {change(loss)} points{few}."
        )
    counts = f"{found.lost} images lost, {found.won} won, {p_text(found.p_value)}"
    return (
        f"It changes accuracy by {change(found.drop_points)} ± {found.margin_points:.2f} points "
        f"on test (paired, 95 %; {counts}) "
        f"and by {change(loss)} on validation, where it was chosen.{in_class}"
    )

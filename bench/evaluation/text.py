"""An evaluation as text and tables."""

from __future__ import annotations

from hemline.bench.evaluation.result import (
    Averages,
    Calibration,
    ClassScores,
    Evaluation,
    RunResult,
)
from hemline.contract.model_summary import Layer
from hemline.small_sets import few_images
from hemline.tables import Table, as_text, count, kilobytes, percent, signed

_LONG_SUMMARY = 40  # layers: of larger models only those that compute are listed as text
_MOST_WRONG = 5  # images: the rest are in the report, in its CSV file and in the JSON document
_MOST_COLUMNS = 20  # classes: a larger confusion matrix is wider than any terminal


def as_report(evaluation: Evaluation) -> str:
    """Return the whole evaluation, the verdict first."""
    parts = [verdict(evaluation), *(f"note: {note}" for note in notes(evaluation))]
    if len(evaluation.results) > 1:
        parts += ["", as_text(comparison_table(evaluation)), comparison_note(evaluation)]
    for result in evaluation.results:
        parts += ["", *_sections(evaluation, result)]
    for layers in dict.fromkeys(result.origin.layers for result in evaluation.results):
        parts += ["", *_summary(layers)] if layers else []
    return "\n".join(parts)


def notes(evaluation: Evaluation) -> tuple[str, ...]:
    """Return what else to know of the images, and whether they are few."""
    return (*evaluation.notes, *few_images(evaluation.results[0].images, evaluation.split))


def verdict(evaluation: Evaluation) -> str:
    """Return the result in one line: of several, the best one or the ensemble."""
    if len(evaluation.results) == 1:
        return _alone(evaluation.results[0], evaluation)
    first, last = evaluation.results[0], evaluation.results[-1]
    if last.origin.kind == "ensemble":
        return f"{_alone(last, evaluation)}; {_against(last, first)}"
    best = max(evaluation.results, key=lambda result: result.correct)
    line = f"best of {len(evaluation.results)}: {_alone(best, evaluation)}"
    if best is not first:
        return f"{line}; {_against(best, first)}"
    certain = any(_certain(result) for result in evaluation.results)
    return line if certain else f"{line}; no other one is worse by more than chance"


def interval_text(result: RunResult) -> str:
    """Return the 95 % interval of the accuracy."""
    return f"{100 * result.accuracy_low:.2f} … {percent(result.accuracy_high)}"


def difference_text(result: RunResult) -> str:
    """Return the difference to the first one in points, empty for the first one."""
    if result.difference is None:
        return ""
    return f"{signed(result.difference.points)} ± {result.difference.half_width:.2f}"


def title_of(result: RunResult) -> str:
    """Return what was evaluated, in words."""
    origin = result.origin
    ran = f" ({origin.model}, {origin.runtime} {origin.runtime_version})"
    return f"{name_of(result)}{'' if origin.kind == 'ensemble' else ran}"


def comparison_table(evaluation: Evaluation) -> Table:
    """Return one row for each result."""
    figures = ("accuracy (95 %)", "difference", "macro F1", "ECE", "parameters", "MACs", "size")
    return Table.of(
        ("evaluated", *(f">{name}" for name in figures), "ran in"),
        (
            (
                name_of(result),
                f"{percent(result.accuracy)} ({interval_text(result)})",
                difference_text(result),
                f"{result.macro.f1_score:.4f}",
                percent(result.calibration[1].expected_calibration_error),
                "" if result.origin.parameters is None else count(result.origin.parameters),
                "" if result.origin.macs is None else count(result.origin.macs),
                "" if result.origin.size_bytes is None else kilobytes(result.origin.size_bytes),
                f"{result.origin.runtime} {result.origin.runtime_version}".strip(),
            )
            for result in evaluation.results
        ),
    )


def comparison_note(evaluation: Evaluation) -> str:
    """Return what the columns of the comparison mean."""
    return (
        f"difference: to {evaluation.results[0].origin.name}, in points, from the same images, "
        "with its 95 % interval; ECE: expected calibration error, with temperature"
    )


def scores_table(result: RunResult) -> Table:
    """Return the classification report."""

    def row(name: str, scores: ClassScores | Averages, images: int) -> tuple[str, ...]:
        shares = (scores.precision, scores.recall, scores.f1_score)
        return (name, *(f"{share:.4f}" for share in shares), f"{images:,}")

    total = result.images
    rows = [row(each.label, each, each.support) for each in result.classes]
    rows.append(("accuracy", "", "", f"{result.accuracy:.4f}", f"{total:,}"))
    rows.append(row("macro avg", result.macro, total))
    rows.append(row("weighted avg", result.weighted, total))
    return Table.of(("", ">precision", ">recall", ">f1-score", ">support"), rows)


def confusion_table(result: RunResult) -> Table:
    """Return the confusion matrix: a row a true class, a numbered column a predicted class."""
    rows = [
        (f"{at} {each.label}", *(str(images) if images else "·" for images in row))
        for at, (each, row) in enumerate(zip(result.classes, result.confusion, strict=True))
    ]
    return Table.of(("true class", *(f">{at}" for at in range(len(rows)))), rows)


def confused_table(result: RunResult) -> Table:
    """Return the most frequent mistakes."""
    support = {each.label: each.support for each in result.classes}
    return Table.of(
        ("true class", "predicted as", ">images", ">of the class"),
        (
            (
                each.true,
                each.predicted,
                f"{each.images:,}",
                percent(each.images / support[each.true]),
            )
            for each in result.most_confused
        ),
    )


def wrong_table(result: RunResult, most: int | None = None) -> Table:
    """Return the wrong predictions, the highest score first."""
    return Table.of(
        ("image", "true", "predicted", ">score"),
        (
            (each.image, each.true, each.predicted, f"{each.score:.4f}")
            for each in result.wrong[:most]
        ),
    )


def calibration_table(result: RunResult) -> Table:
    """Return the expected calibration error and the cross-entropy, without and with temperature."""
    return Table.of(
        ("temperature", ">expected calibration error", ">cross-entropy"),
        (
            (
                temperature_text(each, plain=at == 0),
                percent(each.expected_calibration_error),
                f"{each.cross_entropy:.4f}",
            )
            for at, each in enumerate(result.calibration)
        ),
    )


def separation_table(result: RunResult) -> Table:
    """Return how well strangers are told from the images, by each method."""
    return Table.of(
        ("strangers", ">images", "by", ">AUROC", ">FPR at 95 % TPR", ">unknown"),
        (
            (
                each.strangers,
                f"{each.images:,}",
                each.method,
                f"{each.auroc:.4f}",
                percent(each.false_positive_rate),
                percent(each.unknown_strangers),
            )
            for each in result.separations
        ),
    )


def separation_note(result: RunResult) -> str:
    """Return what the columns mean, and what the file makes of its own images."""
    deciding = [each for each in result.separations if each.decides]
    own = deciding[0].unknown_images
    shares = ", ".join(
        f"{percent(each.unknown_strangers)} of {each.strangers}" for each in deciding
    )
    return (
        f"by {deciding[0].method}, {name_of(result)} calls unknown: {shares}, and {percent(own)} "
        f"({round(own * result.images):,} of {result.images:,}) of the images that it knows;\n"
        "AUROC: how well both are told apart, 1 is perfect and 0.5 a coin; FPR at 95 % TPR: share "
        "of the strangers that are accepted where 95 % of the images are; unknown: share of the "
        "strangers beyond the file's threshold; of the second half of each set: the first is to "
        "choose on"
    )


def summary_table(layers: tuple[Layer, ...], *, computing_only: bool = False) -> Table:
    """Return the model summary; the sums are over all layers, whichever are listed."""

    def row(name: str, kind: str, output: str, parameters: int, macs: int) -> tuple[str, ...]:
        return name, kind, output, f"{parameters:,}", f"{macs:,}"

    rows = [
        row(each.name, each.kind, " × ".join(map(str, each.output)), each.parameters, each.macs)
        for each in layers
        if each.macs or not computing_only
    ]
    parameters, macs = sum(x.parameters for x in layers), sum(x.macs for x in layers)
    rows.append(row("in all", "", "", parameters, macs))
    return Table.of(("layer", "kind", ">output", ">parameters", ">MACs"), rows)


def _sections(evaluation: Evaluation, result: RunResult) -> list[str]:
    parts = [f"── {title_of(result)} ──"]
    parts += ["", f"accuracy {accuracy_line(result, evaluation)}"]
    parts += ["", as_text(scores_table(result)), ""]
    if len(result.classes) <= _MOST_COLUMNS:
        parts += ["confusion matrix", as_text(confusion_table(result)), ""]
    if result.most_confused:
        parts += ["most confused", as_text(confused_table(result)), ""]
        shown = min(_MOST_WRONG, len(result.wrong))
        parts += [f"wrong predictions with the highest scores ({shown} of {len(result.wrong):,})"]
        parts += [as_text(wrong_table(result, shown)), ""]
    parts += ["calibration", as_text(calibration_table(result))]
    if result.separations:
        parts += ["", "strangers", as_text(separation_table(result)), separation_note(result)]
    return parts


def _summary(layers: tuple[Layer, ...]) -> list[str]:
    long = len(layers) > _LONG_SUMMARY
    lines = ["model", as_text(summary_table(layers, computing_only=long))]
    if long:
        idle = [layer for layer in layers if not layer.macs]
        lines.append(f"{len(idle)} layers without multiplications are counted but not listed")
    return lines


def accuracy_line(result: RunResult, evaluation: Evaluation) -> str:
    """Return the accuracy with the counts behind it and its interval."""
    line = (
        f"{percent(result.accuracy)}: {result.correct:,} of {result.images:,} "
        f"{evaluation.split} images correct, 95 % interval {interval_text(result)} (Wilson)"
    )
    agreement = agreement_line(result)
    return f"{line}; {agreement}" if agreement else line


def agreement_line(result: RunResult) -> str:
    """Return how many predictions the source model shares; nothing where that is not known."""
    if result.keras_agreement is None:
        return ""
    share = percent(result.keras_agreement / result.images)
    return f"{share} of the predictions are those of the source model"


def _alone(result: RunResult, evaluation: Evaluation) -> str:
    worst = min(result.classes, key=lambda each: each.f1_score)
    line = (
        f"{name_of(result)}: {percent(result.accuracy)} of {result.images:,} {evaluation.split} "
        f"images of {evaluation.title} correct ({interval_text(result)}), macro F1 "
        f"{result.macro.f1_score:.4f}, weakest class {worst.label} (F1 {worst.f1_score:.4f})"
    )
    return f"{line}, {mistake_line(result)}" if result.most_confused else line


def mistake_line(result: RunResult) -> str:
    """Return the most frequent mistake."""
    if not result.most_confused:
        return "no mistakes"
    pair = result.most_confused[0]
    return f"most frequent mistake {pair.true} as {pair.predicted} ({pair.images:,})"


def _against(result: RunResult, first: RunResult) -> str:
    doubt = "" if _certain(result) else ", which may be chance"
    return f"{difference_text(result)} points against {first.origin.name}{doubt}"


def _certain(result: RunResult) -> bool:
    return result.difference is not None and (
        abs(result.difference.points) > result.difference.half_width
    )


def name_of(result: RunResult) -> str:
    """Return what was evaluated, in short."""
    if result.origin.kind == "ensemble":
        return f"ensemble of {len(result.origin.members)}"
    return result.origin.name


def temperature_text(calibration: Calibration, *, plain: bool) -> str:
    """Return what divided the logits, `plain` for the calibration without temperature."""
    if plain:
        return "none"
    return (
        "each member's own" if calibration.temperature is None else f"{calibration.temperature:g}"
    )

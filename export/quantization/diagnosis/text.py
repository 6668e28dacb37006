"""A diagnosis as text: the loss, the causes in sentences, and a table of the layers."""

from __future__ import annotations

from collections.abc import Iterator

from hemline.export.quantization.diagnosis.document import (
    CauseReport,
    Diagnosis,
    LayerReport,
    Loss,
)
from hemline.figures import plain
from hemline.small_sets import accuracy_text
from hemline.tables import Table, as_text, change, signed

_MOST_ROWS = 30
_COLUMNS = ("layer", "operator", ">share", ">alone", ">brings back", ">SQNR", ">usual channel",
            ">cosine", ">bias", ">clipped", ">range", ">widest channel", ">dead")  # fmt: skip


def as_report(diagnosis: Diagnosis, advice: dict[str, str]) -> str:
    """Return the whole text; `advice` is what to do for each remedy."""
    causes = [sentence(each, diagnosis.loss) for each in diagnosis.causes]
    steps = {each.remedy: advice[each.remedy] for each in diagnosis.causes}
    blocks = [
        loss_line(diagnosis),
        "\n".join(causes) or no_cause(diagnosis),
        "\n".join(f"→ {step}" for step in steps.values()),
        "\n".join(diagnosis.notes),
        "\n\n".join((as_text(layer_table(diagnosis)), "\n".join(legend(diagnosis))))
        if diagnosis.layers
        else "",
    ]
    return "\n\n".join(each for each in blocks if each)


def loss_line(diagnosis: Diagnosis) -> str:
    """Return one line on what is lost, on which images."""
    loss = diagnosis.loss
    where = f"{diagnosis.images:,} {diagnosis.split} images"
    same = f"{100 - loss.changed_points:.2f} % of the labels are those of {diagnosis.source}"
    if loss.drop_points is None or diagnosis.float_accuracy is None:
        return f"{diagnosis.subject}: {same} ({where} without labels)"
    accuracies = (diagnosis.float_accuracy - loss.drop_points / 100, diagnosis.float_accuracy)
    left, before = (
        accuracy_text(round(each * diagnosis.images), diagnosis.images) for each in accuracies
    )
    return (
        f"{diagnosis.subject}: {left} instead of {before} in float, "
        f"{change(loss.drop_points)} points on {where}; {same}"
    )


def sentence(cause: CauseReport, loss: Loss) -> str:
    """Return one sentence: where, what is the matter, what helps, and what that brings."""
    where = f"{cause.layer}: " if cause.layer else ""
    if cause.gain_points is None:
        return f"{where}{cause.finding}; what helps is {cause.repair}"
    whole = f"{loss.points:.1f} {points_of(loss)}"
    share = f"{cause.gain_points:.1f} of" if cause.gain_points < loss.points else "all"
    return f"{where}{cause.finding}; {cause.repair} brings back {share} {whole}"


def points_of(loss: Loss) -> str:
    """Return what the points of a loss are of."""
    return "points of changed labels" if loss.drop_points is None else "points"


def no_cause(diagnosis: Diagnosis) -> str:
    """Return why no cause is named."""
    if diagnosis.loss.points < 0.2:
        return "nothing to repair: what is left is rounding"
    return "no single cause: the loss is spread over the layers as rounding spreads it"


def layer_table(diagnosis: Diagnosis) -> Table:
    """Return the layers, the most harmful first, without columns that are empty."""
    whole = sum(each.alone.divergence for each in diagnosis.layers if each.alone)
    shown = diagnosis.layers[:_MOST_ROWS]
    rows = [tuple(_cells(each, diagnosis.loss, whole)) for each in shown]
    filled = [at for at in range(len(_COLUMNS)) if any(row[at] for row in rows)]
    return Table.of(
        (_COLUMNS[at] for at in filled), (tuple(row[at] for at in filled) for row in rows)
    )


def short(name: str) -> str:
    """Return the first of the names that a converter gave to a fused layer, cut to 40 signs."""
    return plain(name.split(";")[0], most=40)


def _cells(layer: LayerReport, loss: Loss, whole: float) -> Iterator[str]:
    yield short(layer.name)
    yield layer.operator
    yield f"{100 * layer.alone.divergence / whole:.0f} %" if layer.alone and whole else ""
    yield _changed(layer.alone) if layer.alone else ""
    yield signed(loss.points - layer.without.points) if layer.without else ""
    yield from (_decibels(each) for each in (layer.sqnr_db, layer.channel_sqnr_db))
    yield f"{layer.cosine:.4f}"
    yield f"{100 * layer.bias:+.1f} %"
    yield f"{100 * layer.clipped_share:.2f} %"
    yield f"{layer.range_ratio:.2f} ×"
    widest = layer.worst_channels[0] if layer.worst_channels else None
    yield f"{widest.activation_ratio:.1f} × ({widest.channel})" if widest else ""
    yield f"{layer.dead_channels} of {layer.channel_count}" if layer.dead_channels else ""


def _changed(loss: Loss) -> str:
    unsigned = f"{loss.changed_points:.2f}"  # labels that changed, which is neither good nor bad
    return unsigned if loss.drop_points is None else change(loss.drop_points)


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} dB"


def legend(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield what the columns are, and how many rows were left out."""
    if any(each.alone for each in diagnosis.layers):
        points = points_of(diagnosis.loss)
        yield "share: of what the layers change in the probabilities, each quantized alone."
        what = "accuracy change in points" if points == "points" else points
        yield f"alone: {what} when only this layer is quantized; brings back: points, in float."
    yield (
        "SQNR (of all, and of the median channel), cosine and bias: of the quantized output, with "
        "the noise of the layers before."
    )
    yield "range: relative to what the images need; widest channel: relative to the median one."
    if (more := len(diagnosis.layers) - _MOST_ROWS) > 0:
        yield f"{more} less harmful layers are not shown."

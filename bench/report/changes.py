"""Tables of how the predictions of an artifact differ from those of its float model."""

from __future__ import annotations

from hemline.bench.accuracy.change import AccuracyChange
from hemline.bench.comparison import ComparedModel
from hemline.tables import Figure, Table, count, p_text, percent

_COUNTS = (">images", ">float correct", ">correct", ">accuracy", ">95 %", ">lost", ">won", ">p")


def class_table(change: AccuracyChange) -> Table:
    """Return one row for each class, the one that lost most first."""
    classes = sorted(change.classes, key=lambda each: each.won - each.lost)
    rows = (
        (
            each.name,
            *map(count, (each.images, each.source_correct, each.correct)),
            percent(each.correct / each.images),
            f"{100 * each.low:.1f}–{100 * each.high:.1f}",
            *map(count, (each.lost, each.won)),
            Figure(p_text(each.p_value).removeprefix("p ").removeprefix("= "), each.p_value),
        )
        for each in classes
    )
    return Table.of(("class", *_COUNTS), rows)


def flip_table(change: AccuracyChange, model: ComparedModel) -> Table:
    """Return one row for each image whose prediction changed, the losses first."""

    def name(label: int) -> str:
        return model.classes[label] if label < len(model.classes) else str(label)

    rows = (
        (count(each.image), *map(name, (each.label, each.source, each.artifact)), each.kind)
        for each in change.flips
    )
    return Table.of((">image", "class", "float prediction", "prediction", "change"), rows)

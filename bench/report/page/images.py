"""What 8 bits change in the predictions: class by class, and the images that flipped."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from hemline import pages
from hemline.bench.accuracy.change import AccuracyChange, ClassChange, Flip, accuracy_change
from hemline.bench.comparison import ComparedModel, Row
from hemline.contract.record import Accuracy
from hemline.data.custom.reading import counted
from hemline.tables import Table, percent, signed

_MOST = 24  # images of one group: they show what kind they are
_SIDE = 64  # pixels: larger images are scaled down
_SHOWN = 88  # pixels of the page
_LOSSLESS = 32 * 32  # pixels: a photograph with more of them is smaller as JPEG
# cells with equal predictions, by artifact and runtime, and their change
Group = tuple[str, AccuracyChange]


def groups_of(model: ComparedModel, cells: Iterable[Row]) -> tuple[Group, ...]:
    """Return the changes of a model's cells, those of the cell to ship first."""
    if model.source is None or model.labels is None:
        return ()
    found: dict[str, tuple[Accuracy, dict[str, dict[str, None]]]] = {}
    for each in sorted(cells, key=lambda cell: not cell.chosen):
        test = each.get(Accuracy)
        if test is not None:
            _, names = found.setdefault(test.predictions, (test, {}))
            runtime = " with ".join(filter(None, (each.cell.runtime, each.cell.settings.text)))
            names.setdefault(each.cell.artifact, {})[runtime] = None
    changes = (
        (
            "; ".join(f"{name} ({', '.join(runtimes)})" for name, runtimes in names.items()),
            accuracy_change(model.source.test, test, model.labels, model.classes),
        )
        for test, names in found.values()
    )
    return tuple((title, change) for title, change in changes if change.flips)


def classes_table(model: ComparedModel, groups: Sequence[Group]) -> Table:
    """Return the accuracy of each class in the source model, and its change in points.

    Of cells that were run on the first images only, a class without images has no change.
    """
    title = "source model" if model.source is None else model.source.title
    whole = max((change for _, change in groups), key=lambda change: change.images)
    named = [{each.name: each for each in change.classes} for _, change in groups]
    return Table.of(
        ("class", ">images", f">{title}", *(f">{title}" for title, _ in groups)),
        (
            (
                each.name,
                f"{each.images:,}",
                percent(each.source_correct / each.images),
                *(_change(classes.get(each.name)) for classes in named),
            )
            for each in whole.classes
        ),
    )


def _change(each: ClassChange | None) -> str:
    if each is None:
        return ""
    return f"{signed(100 * (each.won - each.lost) / each.images)}{'*' * each.is_loss}"


def flipped(
    model: ComparedModel, group: Group, images: npt.NDArray[np.uint8], *, opened: bool
) -> str:
    """Return, as HTML, the images whose prediction is not the source model's.

    Those that became wrong come first; `images` are the test images, uint8 (n, h, w, c).
    """
    title, change = group
    shown = change.flips[:_MOST]
    same = len(change.flips) - change.lost - change.won
    part = f" (the first {len(shown)})" if len(shown) < len(change.flips) else ""
    heading = (
        f"{title}: {counted(len(change.flips), 'prediction')} changed: {change.lost:,} became "
        f"wrong, {change.won:,} became right{f', {same:,} stayed wrong' * bool(same)}{part}"
    )
    tiles = "\n".join(_tile(model.classes, flip, images[flip.image]) for flip in shown)
    return pages.folded(heading, f'<ul class="tiles">{tiles}</ul>', opened=opened)


def _tile(names: Sequence[str], flip: Flip, pixels: npt.NDArray[np.uint8]) -> str:
    lines = (
        pages.element("div", f"true: {names[flip.label]}"),
        pages.element("div", f"before: {names[flip.source]}", "soft"),
        pages.element("div", f"now: {names[flip.artifact]}", flip.kind),
    )
    return f"<li>{thumbnail(pixels, f'test image {flip.image}')}{''.join(lines)}</li>"


def thumbnail(pixels: npt.NDArray[np.uint8], alternative: str) -> str:
    """Return a small copy of an image, uint8 (h, w, 1 or 3), as HTML."""
    from PIL import Image

    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((_SIDE, _SIDE))
    kind = "png" if picture.width * picture.height <= _LOSSLESS else "jpeg"
    stream = io.BytesIO()
    picture.save(stream, kind, optimize=True)
    width, height = (round(side * _SHOWN / max(picture.size)) for side in picture.size)
    return pages.image(stream.getvalue(), kind, alternative, width=width, height=height)

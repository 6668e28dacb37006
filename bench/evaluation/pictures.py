"""The pictures of an evaluation: which there are, and what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hemline.bench.evaluation.charts import draw_classes, draw_confusion, draw_reliability
from hemline.bench.evaluation.running import EvaluationRun
from hemline.bench.evaluation.text import title_of
from hemline.data.custom.reading import counted
from hemline.figures import Heading, NotDrawnError, Picture, short_labels
from hemline.tables import percent
from hemline.tiles import COLUMNS, Gallery, balanced_sample, draw_tiles

_TILES = 30  # of a gallery: five rows
_MOST_ROWS = 8  # classes with a row of their own


def gallery_of(run: EvaluationRun) -> Gallery:
    """Return the images of a run with their predictions."""
    return Gallery(
        pixels=run.split.pixels,
        labels=run.split.labels,
        probabilities=run.predictions.scaled,
        names=short_labels([each.label for each in run.result.classes]),
        images=run.split.image_names,
    )


def subtitle_of(run: EvaluationRun) -> str:
    """Return the line below the title of every picture."""
    result, split = run.result, run.split
    return (
        f"{title_of(result)}: {percent(result.accuracy)} of {result.images:,} "
        f"{split.name} images of {split.title} correct"
    )


def _samples(run: EvaluationRun, path: Path, heading: Heading) -> None:
    gallery = gallery_of(run)
    found = np.unique(gallery.labels, return_counts=True)[1]
    across = min(COLUMNS, found.min())
    rows = len(found) if across > 1 and len(found) <= _MOST_ROWS else 0
    chosen = balanced_sample(gallery.labels, rows * across or _TILES)
    columns = across if rows else COLUMNS
    draw_tiles(path, heading, [gallery.tile(at) for at in chosen], columns=columns)


def _mistakes(run: EvaluationRun, path: Path, heading: Heading) -> None:
    gallery = gallery_of(run)
    chosen = gallery.worst(_TILES)
    if not len(chosen):
        raise NotDrawnError("every prediction is correct")
    pairs = len({(gallery.labels[at], gallery.predicted[at]) for at in chosen})
    wrong = run.result.images - run.result.correct
    heading = heading.saying(
        f"{len(chosen)} of {wrong:,}, from {counted(pairs, 'pair')} of classes"
    )
    draw_tiles(path, heading, [gallery.named_tile(at) for at in chosen])


PICTURES: tuple[Picture[EvaluationRun], ...] = (
    Picture(
        name="confusion",
        title="Confusion matrix",
        caption="Images of each true class (row) by their predicted class (column): correct "
        "predictions in blue, mistakes in orange. The colour is the share of the true class; the "
        "scale of the mistakes is a square root, so that rare ones can be seen.",
        draw=draw_confusion,
    ),
    Picture(
        name="reliability",
        title="Reliability",
        caption="Accuracy of the predictions in bins of confidence: on the dotted line, a score of "
        "80 % is correct in 80 % of the cases. Neighbouring bins with fewer than 5 images are "
        "merged; a gap that may be chance is pale. Below: the images in each of the 15 bins that "
        "the ECE is computed from.",
        draw=draw_reliability,
    ),
    Picture(
        name="classes",
        title="Class distribution",
        caption="Share and number of images of each class in each part of the data, and how often "
        "each class was predicted in the part that was evaluated (black mark).",
        draw=draw_classes,
    ),
    Picture(
        name="samples",
        title="Sample predictions",
        caption="Images at random, of up to 8 classes a row for each; green with ✓ is correct, "
        "red with ✗ is wrong. The score is the probability with temperature.",
        draw=_samples,
    ),
    Picture(
        name="mistakes",
        title="Worst mistakes",
        caption="The wrong predictions with the highest scores, of as many pairs of true and "
        "predicted class as possible, the most frequent pair first. Some are mistakes of the "
        "model, some of the labels.",
        draw=_mistakes,
    ),
)

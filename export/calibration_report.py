"""Compare the calibrators on a model: a document, a picture, and the table to print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hemline.contract import schema
from hemline.contract.checkpoint import read_card
from hemline.contract.specs import LOGITS
from hemline.data.datasets import Images
from hemline.errors import UsageError, remedy
from hemline.export.quantization.calibration import calibration_images
from hemline.export.quantization.calibrators.comparison import (
    COUNTS,
    CalibrationComparison,
    Judge,
    trial,
    trials,
)
from hemline.export.quantization.calibrators.picture import draw_comparison
from hemline.export.quantization.calibrators.table import CALIBRATORS, ranges_by
from hemline.export.quantization.float_graph import observed
from hemline.export.quantization.options import PostTrainingOptions
from hemline.export.quantization.post_training import synthetic_calibration
from hemline.export.sources.table import open_source
from hemline.export.trained_data import split_of
from hemline.export.user_images import GENERATED
from hemline.provenance import versions
from hemline.silence import silenced

NAME = "calibration"  # of the files, without endings


def write_comparison(
    checkpoint: Path, folder: Path, images: Images, *, seed: int, say: Callable[[str], None]
) -> CalibrationComparison:
    """Try every calibrator on a checkpoint; write calibration.json and calibration.png.

    Raises UsageError without images.
    """
    card = read_card(checkpoint)
    if images.dataset.name == GENERATED:
        raise UsageError("comparing calibrators needs images", remedy=remedy("name images"))
    split = split_of(card, images)
    drawn = calibration_images(images, split, count=None, usual=COUNTS[-1], seed=seed)
    held_out = list(split.validation_indices)
    labels = images.train_labels[held_out] if images.labelled else None
    with open_source(card.model.source, checkpoint / card.model.file, outputs=(LOGITS,)) as source:
        with silenced():
            graph = source.float_graph
            judge = Judge.of(graph, images.train_images[held_out], labels)
        found = list(trials(graph, drawn, judge, say))
        for row in CALIBRATORS.values():
            if row.synthetic:
                say("calibrate on images generated from the model")
                with silenced():
                    made = synthetic_calibration(source, PostTrainingOptions(seed=seed))
                ranges = ranges_by(row.name, observed(graph, made.images))
                found.append(trial(graph, made, row.name, len(made.images), ranges, judge))
    order = list(CALIBRATORS)
    found.sort(key=lambda each: (order.index(each.calibrator), each.images))
    reference = judge.reference.argmax(axis=1)
    comparison = CalibrationComparison(
        model=card.model.name,
        parent_sha256=card.model.sha256,
        validation_images=len(held_out),
        float_accuracy=None if labels is None else float((reference == labels).mean()),
        trials=tuple(found),
        versions=versions(("onnx", "onnxruntime", "numpy")),
    )
    schema.save(folder / f"{NAME}.json", comparison)
    draw_comparison(comparison, folder / f"{NAME}.png")
    return comparison

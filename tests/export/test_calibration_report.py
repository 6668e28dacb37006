"""The comparison of calibrators: every one on more and more images, as document and picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from graphs import Net
from PIL import Image

from hemline.contract import schema
from hemline.export.graph.normalization import normalized
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.calibrators import comparison as comparing
from hemline.export.quantization.calibrators.comparison import (
    CalibrationComparison,
    CalibrationTrial,
    Judge,
    comparison_table,
)
from hemline.export.quantization.calibrators.picture import draw_comparison
from hemline.export.quantization.calibrators.table import CALIBRATORS
from hemline.export.quantization.float_graph import FloatGraph, calibrated_plan
from hemline.export.quantization.quantized import Quantized

PIXELS = np.random.default_rng(4).integers(0, 256, (90, 12, 12, 3), np.uint8)
WITH_IMAGES = [row.name for row in CALIBRATORS.values() if not row.synthetic]


def _trials(labels: bool) -> list[CalibrationTrial]:
    net = Net()
    graph = FloatGraph(normalized(net.model(net.head(net.conv("x", 3, 4), 4))))
    calibration = Calibration(images=PIXELS[:70], sha256="", seed=3)
    truth = np.zeros(20, np.uint8) if labels else None
    judge = Judge.of(graph, PIXELS[70:], truth)
    found = list(comparing.trials(graph, calibration, judge, lambda _: None))
    # all images at once, by the calibrator alone
    plan = calibrated_plan(graph, calibration, "min-max")
    alone = judge.fidelity(Quantized(float_graph=graph, plan=plan))
    last = next(each for each in found[::-1] if each.calibrator == "min-max")
    assert (last.images, last.agreement) == (70, alone.agreement)
    return found


def test_every_calibrator_is_tried_on_more_and_more_images() -> None:
    found = _trials(labels=True)
    tried = [(each.calibrator, each.images) for each in found]
    assert tried == [(name, count) for count in (16, 64, 70) for name in WITH_IMAGES]
    assert all(each.drop_points is not None for each in found)
    assert all(0 <= each.agreement <= 1 for each in found)


@pytest.mark.medium
@pytest.mark.parametrize("labels", [True, False])
def test_a_comparison_is_a_document_a_table_and_a_picture(labels: bool, tmp_path: Path) -> None:
    trials = (*_trials(labels), CalibrationTrial(
        calibrator="synthetic", images=8, agreement=0.9, drop_points=0.5 if labels else None
    ))  # fmt: skip
    comparison = CalibrationComparison(
        model="net",
        parent_sha256="0" * 64,
        validation_images=20,
        float_accuracy=0.5 if labels else None,
        trials=trials,
        versions={"onnxruntime": "1"},
    )
    schema.save(tmp_path / "calibration.json", comparison)
    assert schema.load(CalibrationComparison, tmp_path / "calibration.json") == comparison
    table = comparison_table(comparison)
    assert ("accuracy change (points)" in table.columns) is labels
    assert len(table.rows) == len(trials)
    draw_comparison(comparison, tmp_path / "calibration.png")
    with Image.open(tmp_path / "calibration.png") as picture:
        assert picture.width == 1200

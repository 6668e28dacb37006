"""The graph: any float classifier as pixels in and logits out, in ONNX Runtime and TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import difference, operators_of

from hemline.export.graph.normalization import normalized
from hemline.export.sources.graph import GraphSource
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from hemline.export.sources.keras import KerasSource  # noqa: E402 — after TensorFlow's noise was turned off
from hemline.export.writers import tflite as tflite_writer  # noqa: E402
from hemline.train.nets.models import MODELS, build_model  # noqa: E402


@pytest.mark.parametrize(
    "name",
    ["hem-50k", "mlp", "cnn", "deep-cnn", pytest.param("mobilenetv2", marks=pytest.mark.slow)],
)
def test_an_own_net_needs_no_more_operators_than_keras_itself(name: str) -> None:
    model = build_model(MODELS[name], (28, 28, 1), 10)
    with KerasSource(model) as source:
        direct = operators_of(tflite_writer.convert_fp32(source, None).content)
        graph = normalized(source.onnx)
        images = np.random.default_rng(1).integers(0, 256, (4, 28, 28, 1), np.uint8)
        expected = source.run(images)
    with GraphSource(graph) as rebuilt:
        content = tflite_writer.convert_fp32(rebuilt, None).content
        found = rebuilt.run(images)
    assert len(operators_of(content)) <= len(direct)
    assert difference(found, expected) < 1e-5

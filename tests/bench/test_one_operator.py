"""Models of one operator: every runtime opens them, and they cost what their shape says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from hemline.bench.profiling import one_operator
from hemline.bench.profiling.one_operator import Arithmetic, Convolution, one_convolution
from hemline.contract.specs import Format
from hemline.model_files.contents import Contents
from hemline.model_files.onnx import read_onnx
from hemline.model_files.tflite import read_tflite

LAYERS = (
    Convolution(height=9, width=8, channels_in=3, channels_out=5),
    Convolution(height=9, width=8, channels_in=4, channels_out=6, kernel=1),
    Convolution(height=9, width=8, channels_in=4, channels_out=7, stride=2),
    Convolution(height=8, width=9, channels_in=4, channels_out=0, stride=2, depthwise=True),
)


def computed(model: bytes, file_format: Format) -> tuple[int, ...]:
    """Run a model on zeros; return the shape of its output."""
    if file_format == "onnx":
        session = onnxruntime.InferenceSession(model)
        feeds = {
            each.name: np.zeros(each.shape, np.uint8 if "uint8" in each.type else np.float32)
            for each in session.get_inputs()
        }
        (made,) = session.run(None, feeds)
        return tuple(made.shape)
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.invoke()
    return tuple(map(int, interpreter.get_output_details()[0]["shape"]))


def read(model: bytes, file_format: Format) -> Contents:
    return read_onnx(model) if file_format == "onnx" else read_tflite(model)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("file_format", "arithmetic"),
    [
        ("tflite", "float32"),
        ("tflite", "int8"),
        ("tflite", "dynamic"),
        ("onnx", "float32"),
        ("onnx", "int8"),
    ],
)
def test_a_convolution_has_the_shape_and_the_cost_that_it_was_asked_for(
    layer: Convolution, file_format: Format, arithmetic: Arithmetic
) -> None:
    fields: dict[str, Any] = {name: getattr(layer, name) for name in layer.__slots__}
    asked = Convolution(**{**fields, "arithmetic": arithmetic})
    model = one_convolution(asked, file_format)
    height, width, channels = asked.output
    channels_first = file_format == "onnx"
    shape = (channels, height, width) if channels_first else (height, width, channels)
    assert computed(model, file_format) == (1, *shape)
    contents = read(model, file_format).computing()
    (operator,) = contents.operators
    assert contents.macs == asked.macs
    assert contents.dtype_of(operator) == ("float32" if arithmetic == "float32" else "int8")


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_products_sums_and_copies_run_in_both_formats(file_format: Format) -> None:
    product = one_operator.one_product(5, 6, 7, "int8", file_format)
    assert read(product, file_format).macs == 5 * 6 * 7
    assert computed(product, file_format) == (5, 7)
    added = one_operator.one_addition(32, file_format)
    assert math.prod(computed(added, file_format)) == (1 if file_format == "onnx" else 32)
    assert not read(one_operator.nothing(file_format), file_format).macs
    assert math.prod(computed(one_operator.nothing(file_format), file_format)) in (1, 16)


def test_no_onnx_model_has_8_bit_weights_only() -> None:
    layer = Convolution(height=4, width=4, channels_in=1, channels_out=1, arithmetic="dynamic")
    with pytest.raises(ValueError, match="dynamic"):
        one_convolution(layer, "onnx")

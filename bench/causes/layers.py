"""The shape of an operator with weights, read from a model of it alone."""

from __future__ import annotations

from hemline.bench.profiling.one_operator import Arithmetic, Convolution
from hemline.contract.specs import Format
from hemline.model_files.onnx import read_onnx
from hemline.model_files.tflite import read_tflite


def layer_of(content: bytes, kind: str, to: Format) -> Convolution | None:
    """Return an operator as a convolution; a product of matrices is one of 1 × 1 pixels.

    None without weights, and for layouts of a runtime's own.
    """
    onnx = to == "onnx"
    contents = (read_onnx if onnx else read_tflite)(content).computing()
    operator = next((each for each in contents.operators if each.kind == kind), None)
    weights = contents.weights_of(operator) if operator else ()
    if operator is None or not weights:
        return None
    values, made = (contents.by_name[each[0]] for each in (operator.inputs, operator.outputs))
    kernel, given, output = (each.shape or () for each in (weights[0], values, made))
    arithmetic: Arithmetic = "float32" if weights[0].dtype.startswith("float") else "dynamic"
    arithmetic = "int8" if values.dtype in ("int8", "uint8") else arithmetic
    if len(kernel) == 2 and given and output:
        return Convolution(
            height=1,
            width=values.elements // given[-1],
            channels_in=given[-1],
            channels_out=output[-1],
            kernel=1,
            arithmetic=arithmetic,
        )
    if not len(kernel) == len(given) == len(output) == 4:
        return None
    last = not onnx or kernel[0] != output[1]  # whether channels are the last axis of values
    first, channels = (1, 3) if last else (2, 1)
    return Convolution(
        height=given[first],
        width=given[first + 1],
        channels_in=given[channels],
        channels_out=output[channels],
        kernel=kernel[2],
        stride=-(-given[first] // output[first]),
        depthwise=given[channels] > 1 and kernel[1 if onnx else 0] == 1,
        arithmetic=arithmetic,
    )

"""Run a model of any origin and keep the values between its operators, in a process with limits.

    python -m hemline.export.quantization.diagnosis.taps MODEL IMAGES.npy RESULT.npz [output]

IMAGES are float32 (n, h, w, c), as the float model takes them. RESULT has names, operators, the
ends of each value's grid (NaN for none), and the values float32 (n, …), channels second, by number;
with "output" those of the model's output alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from hemline.child_process import limit_memory

Floats = npt.NDArray[np.float32]
MEMORY_BYTES = 8 << 30  # of addresses beyond those that the packages take
_NO_GRID = (float("nan"), float("nan"))


@dataclass(slots=True, kw_only=True)
class Tap:
    """A value between two operators.

    name, operator: of the value and of what makes it.
    ends: of its grid; NaN for a value in float.
    values: of each image, in order.
    """

    name: str
    operator: str
    ends: tuple[float, float] = _NO_GRID
    values: list[Floats]


def main(arguments: list[str]) -> None:
    """Run a model and write the result."""
    model, images, result = map(Path, arguments[:3])
    pixels: Floats = np.load(images)
    limit_memory(MEMORY_BYTES)
    run = _tflite_taps if model.suffix == ".tflite" else _onnx_taps
    taps = list(run(model, pixels, "output" in arguments))
    # a number of a computed shape has no dimension
    values = [np.concatenate([np.atleast_1d(value) for value in tap.values]) for tap in taps]
    np.savez(
        result,
        names=[tap.name for tap in taps],
        operators=[tap.operator for tap in taps],
        ends=np.asarray([tap.ends for tap in taps], np.float64),
        **{str(at): each for at, each in enumerate(values)},
    )


def _tflite_taps(path: Path, images: Floats, output_only: bool) -> Iterator[Tap]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=not output_only,
        # delegates take over several operators and keep nothing between them
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    source = interpreter.get_input_details()[0]
    outputs = {each["index"] for each in interpreter.get_output_details()[:1]}
    operators = [
        (operator["op_name"], index)
        for operator in interpreter._get_ops_details()  # the only list of what makes each tensor
        for index in operator["outputs"]
        if index in details and (index in outputs or not output_only)
    ]
    taps = {
        index: Tap(
            name=details[index]["name"], operator=name, ends=_ends(details[index]), values=[]
        )
        for name, index in operators
    }
    for image in images:
        interpreter.set_tensor(source["index"], _stored(image[None], source))
        interpreter.invoke()
        for index, tap in taps.items():
            real = _real(interpreter.get_tensor(index), details[index])
            tap.values.append(np.moveaxis(real, -1, 1) if real.ndim == 4 else real)
    yield from taps.values()


def _stored(values: Floats, detail: dict[str, Any]) -> npt.NDArray[Any]:
    scale, zero_point = detail["quantization"]
    if not scale:
        return values.astype(detail["dtype"])
    kind = np.iinfo(detail["dtype"])
    rounded = np.round(values / scale) + zero_point
    return np.asarray(np.clip(rounded, kind.min, kind.max), detail["dtype"])


def _real(stored: npt.NDArray[Any], detail: dict[str, Any]) -> Floats:
    scale, zero_point = detail["quantization"]
    values = stored.astype(np.float32)
    return (values - np.float32(zero_point)) * np.float32(scale) if scale else values


def _ends(detail: dict[str, Any]) -> tuple[float, float]:
    scale, zero_point = detail["quantization"]
    if not scale:
        return _NO_GRID
    kind = np.iinfo(detail["dtype"])
    return (float(scale * (kind.min - zero_point)), float(scale * (kind.max - zero_point)))


def _onnx_taps(path: Path, images: Floats, output_only: bool) -> Iterator[Tap]:
    import onnxruntime

    model = onnx.load(path)
    given = [each.name for each in model.graph.output]
    named = list(_rounded(model.graph)) or list(_made(model.graph))
    if output_only:
        named = [(given[0], "", given[0], _NO_GRID)]
    for _, _, tensor, _ in named:
        if tensor not in given:
            model.graph.output.append(onnx.ValueInfoProto(name=tensor))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    source = session.get_inputs()[0]
    tensors = [tensor for _, _, tensor, _ in named]
    taps = [Tap(name=n, operator=o, ends=ends, values=[]) for n, o, _, ends in named]
    for image in _in_order(images, source.shape):
        feed = image.astype(np.uint8 if "uint8" in source.type else np.float32)
        for tap, found in zip(taps, session.run(tensors, {source.name: feed}), strict=True):
            tap.values.append(found.astype(np.float32))
    yield from taps


def _in_order(images: Floats, shape: list[Any]) -> Iterator[Floats]:
    """Yield images one by one, in the order of dimensions that the model takes."""
    channels_first = shape[1:] == [images.shape[3], *images.shape[1:3]]
    yield from (np.moveaxis(each, -1, 1) if channels_first else each for each in images[:, None])


_Named = tuple[str, str, str, tuple[float, float]]  # value, operator, tensor, ends


def _made(graph: Any) -> Iterator[_Named]:
    """Yield what each operator of a float model makes."""
    for node in graph.node:
        if node.op_type != "Constant":
            yield node.output[0], node.op_type, node.output[0], _NO_GRID


def _rounded(graph: Any) -> Iterator[_Named]:
    """Read the rounded values as float again; yield them by the names before rounding."""
    makers = {name: node for node in graph.node for name in node.output}
    constants = {each.name: each for each in graph.initializer}
    for node in [each for each in graph.node if each.op_type == "QuantizeLinear"]:
        value, (scale, zero) = node.input[0], node.input[1:3]
        if value in constants or scale not in constants or zero not in constants:
            continue
        tensor, maker = f"{node.output[0]}.tap", makers.get(value)
        graph.node.append(
            onnx.helper.make_node("DequantizeLinear", [node.output[0], scale, zero], [tensor])
        )
        ends = _grid_ends(*(onnx.numpy_helper.to_array(constants[each]) for each in (scale, zero)))
        yield value, maker.op_type if maker else "", tensor, ends


def _grid_ends(scale: npt.NDArray[Any], zero: npt.NDArray[Any]) -> tuple[float, float]:
    kind = np.iinfo(zero.dtype)
    return (float(scale * (kind.min - int(zero))), float(scale * (kind.max - int(zero))))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Read what an ONNX model holds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from hemline.errors import BackendError, FileFormatError
from hemline.model_files.contents import Contents, Operator, Tensor

# of their inputs; all others have them at 1
_WEIGHTS_AT = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
# how ONNX Runtime names what it fuses
_FUSED = re.compile("^(Nhwc)?(Fused|QLinear|DynamicQuantize|Q(?=Gemm))?|Integer(ToFloat)?$")


def read_onnx(content: bytes) -> Contents:
    """Return what a serialized ModelProto holds.

    Raises BackendError without the onnx package, FileFormatError for a damaged model.
    """
    try:
        import onnx
    except ImportError as error:
        raise BackendError("onnx is not installed: pip install onnx") from error
    try:
        return contents_of(onnx.load_from_string(content))
    except Exception as error:  # protobuf and onnx have their own
        raise FileFormatError(f"the model's graph cannot be read: {error!r}") from error


def contents_of(proto: Any) -> Contents:
    """Return what a ModelProto holds."""
    import onnx

    return _Reader(onnx.shape_inference.infer_shapes(proto, data_prop=True).graph).contents()


class _Reader:
    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._stored = {each.name: each for each in graph.initializer}
        self._grids = dict(self._found_grids())

    def contents(self) -> Contents:
        graph, self._tensors = self._graph, dict(self._all_tensors())
        return Contents(
            format="onnx",
            inputs=tuple(each.name for each in graph.input if each.name not in self._stored),
            outputs=tuple(each.name for each in graph.output),
            tensors=tuple(self._tensors.values()),
            operators=tuple(map(self._operator, graph.node)),
        )

    def _all_tensors(self) -> Iterator[tuple[str, Tensor]]:
        parts = {name for node in self._graph.node for name in _parts_of_grids(node)}
        for value in (*self._graph.input, *self._graph.value_info, *self._graph.output):
            if value.name not in self._stored:
                kind = value.type.tensor_type
                known = kind.HasField("shape")
                shape = tuple(each.dim_value or 1 for each in kind.shape.dim) if known else None
                yield value.name, self._tensor(value.name, shape, kind.elem_type)
        for name, each in self._stored.items():
            if name not in parts:
                yield name, self._tensor(name, tuple(each.dims), each.data_type, constant=True)

    def _tensor(
        self, name: str, shape: tuple[int, ...] | None, kind: int, *, constant: bool = False
    ) -> Tensor:
        import onnx

        dtype = onnx.TensorProto.DataType.Name(kind).lower()
        bits = 4 if "int4" in dtype else 8 * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
        scales, zero_points, axis = self._grids.get(name, ((), (), None))
        return Tensor(
            name=name,
            shape=shape,
            dtype={"float": "float32", "double": "float64"}.get(dtype, dtype),
            constant=constant,
            size_bytes=0 if shape is None else -(-math.prod(shape) * bits // 8),
            scales=scales,
            zero_points=zero_points,
            axis=axis if len(scales) > 1 else None,
        )

    def _found_grids(self) -> Iterator[tuple[str, tuple[Any, Any, int | None]]]:
        """Yield the grid of each value that is stored as integers."""
        for node in self._graph.node:
            parts = [self._numbers(name) for name in _parts_of_grids(node)]
            if not parts or not parts[0]:
                continue
            axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
            stored = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
            zeros = parts[1] if len(parts) > 1 else (0,) * len(parts[0])
            yield stored, (tuple(map(float, parts[0])), tuple(map(int, zeros)), axis)

    def _numbers(self, name: str) -> tuple[Any, ...]:
        import onnx

        found = self._stored.get(name)
        return () if found is None else tuple(onnx.numpy_helper.to_array(found).reshape(-1))

    def _operator(self, node: Any) -> Operator:
        return Operator(
            kind=node.op_type,
            inputs=tuple(filter(None, node.input)),
            outputs=tuple(filter(None, node.output)),
            macs=self._macs(node),
        )

    def _macs(self, node: Any) -> int:
        weights_at = _WEIGHTS_AT.get(node.op_type, 1)
        values, weights = (
            self._shape(node.input[at]) if at < len(node.input) else () for at in (0, weights_at)
        )
        made = math.prod(self._shape(node.output[0]))
        kind = _FUSED.sub("", node.op_type)
        if kind == "Conv":  # each output is a sum over a kernel (out, in / groups, h, w)
            return made * math.prod(weights[1:])
        if kind == "ConvTranspose":  # each input goes into a kernel (in, out / groups, h, w)
            return math.prod(values) * math.prod(weights[1:])
        if kind not in ("Gemm", "MatMul") or not values:
            return 0
        transposed = any(each.name == "transA" and each.i for each in node.attribute)
        return made * (values[0] if transposed else values[-1])

    def _shape(self, name: str) -> tuple[int, ...]:
        found = self._tensors.get(name)
        return () if found is None or found.shape is None else found.shape


def _parts_of_grids(node: Any) -> list[str]:
    """Return the names of scale and zero point of an operator that puts values onto a grid."""
    grids = ("QuantizeLinear", "DequantizeLinear")
    return [name for name in node.input[1:3] if name] if node.op_type in grids else []

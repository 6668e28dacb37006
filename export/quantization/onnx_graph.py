"""The float graph that ONNX Runtime's static quantizer works on."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from hemline.contract.specs import Format
from hemline.errors import HemlineError
from hemline.export.quantization.calibrators import Values
from hemline.export.quantization.plan import QuantizationPlan, WeightGrid
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import BACKENDS, load_module

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_WEIGHTS_AT = 1  # of their inputs; named after the source's layer, which the node often is not
_BATCH = 10  # images that are observed at once: their activations are in memory together


class OnnxGraph:
    """A float ONNX model after ONNX Runtime's preparation for quantization."""

    format: Format = "onnx"

    def __init__(self, proto: onnx.ModelProto) -> None:
        """Fold and fuse a float model (n, h, w, c)."""
        load_module(BACKENDS["onnxruntime"])
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
        from onnxruntime.quantization.shape_inference import quant_pre_process

        with TemporaryFolder() as folder:
            plain, prepared = f"{folder}/plain.onnx", f"{folder}/prepared.onnx"
            onnx.save(proto, plain)
            # symbolic shape inference needs sympy and finds nothing more in a classifier
            quant_pre_process(plain, prepared, skip_symbolic_shape=True)
            self._proto: onnx.ModelProto = load_model_with_shape_infer(Path(prepared))

    @functools.cached_property
    def _activations(self) -> tuple[str, ...]:
        """Return the names of all float tensors that are computed, the input first."""
        graph = self._proto.graph
        constant = {each.name for each in graph.initializer}
        values = (*graph.input, *graph.value_info, *graph.output)
        return tuple(
            value.name
            for value in values
            if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
            and value.name not in constant
        )

    @property
    def grids(self) -> tuple[WeightGrid, ...]:
        """Return 7 bits per channel for every convolution and dense layer.

        x86 without VNNI adds two products in 16 bits, which 2 · 255 · 127 does not fit into and
        2 · 255 · 64 does. It gives a result in both cases.
        """
        constant = {each.name for each in self._proto.graph.initializer}
        return tuple(
            WeightGrid(layer=node.input[_WEIGHTS_AT], bits=7, scope="channel")
            for node in self._proto.graph.node
            if node.op_type in _WEIGHTED and node.input[_WEIGHTS_AT] in constant
        )

    def observe(self, images: npt.NDArray[np.uint8]) -> Iterator[Values]:
        """Yield the values of all activations for uint8 images (n, h, w, c)."""
        from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

        opened = onnx.ModelProto()
        opened.CopyFrom(self._proto)
        name = opened.graph.input[0].name
        given = {value.name for value in (*opened.graph.input, *opened.graph.output)}
        hidden = [each for each in self._activations if each not in given]
        opened.graph.output.extend(onnx.ValueInfoProto(name=each) for each in hidden)
        options = SessionOptions()
        # an optimization would fuse away what is observed
        options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
        session = InferenceSession(
            opened.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        outputs = [each for each in self._activations if each != name]
        for first in range(0, len(images), _BATCH):
            pixels = images[first : first + _BATCH].astype(np.float32)
            found = session.run(outputs, {name: pixels})
            yield {name: pixels, **dict(zip(outputs, found, strict=True))}

    def quantized(self, plan: QuantizationPlan) -> bytes:
        """Return the int8 file that a plan describes (QDQ, uint8 activations), float in and out."""
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        plan.require_fitting(self.format, self.grids)
        if missing := sorted(set(self._activations) - plan.ranges.keys()):
            raise HemlineError(f"the plan has no range for {missing[0]}")
        ranges = {
            name: (np.float32(low), np.float32(high)) for name, (low, high) in plan.ranges.items()
        }
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)  # the quantizer changes it
        quantizer = QDQQuantizer(
            proto,
            per_channel=True,
            reduce_range=True,  # 7 bits
            weight_qType=QuantType.QInt8,
            # U8S8 is as fast as S8S8 with VNNI or on ARM, and takes pixels as they are
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
            nodes_to_quantize=[],
            nodes_to_exclude=[],
            op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry}),
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        content: bytes = quantizer.model.model.SerializeToString()
        return content

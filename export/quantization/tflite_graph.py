"""The float graph that TensorFlow's TFLite quantizer works on."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.lite.python.convert import deduplicate_readonly_buffers, mlir_quantize
from tensorflow.lite.tools import flatbuffer_utils

from hemline.contract.specs import Format
from hemline.errors import HemlineError
from hemline.export.quantization.calibrators import Values
from hemline.export.quantization.plan import QuantizationPlan, WeightGrid

_FILTER_AT = 1  # of the inputs of all operators with weights
# codes of the operators with weights: Conv2D, DepthwiseConv2D and FullyConnected
_WEIGHTED = (3, 4, 9)


class TFLiteGraph:
    """A flatbuffer whose activations carry ranges, from which the quantizer makes 8 bits.

    It is made of a SavedModel as the converter makes it before it quantizes.
    """

    format: Format = "tflite"

    def __init__(self, saved_model: str, shape: tuple[int, int, int]) -> None:
        """Convert a SavedModel that takes float images (n, *shape)."""
        converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        # The converter asks for an image before it makes this graph. The ranges that it finds on
        # this one are only marks of what has a range.
        converter.representative_dataset = lambda: iter([[np.zeros((1, *shape), np.float32)]])
        converter._experimental_calibrate_only = True
        self.content: bytes = converter.convert()

    @functools.cached_property
    def _model(self) -> Any:
        return flatbuffer_utils.convert_bytearray_to_object(self.content)

    @property
    def _tensors(self) -> list[Any]:
        return list(self._model.subgraphs[0].tensors)

    @property
    def _activations(self) -> dict[int, str]:
        """Return index and name of the tensors that have a range."""
        marked = [
            t.quantization is not None and t.quantization.min is not None for t in self._tensors
        ]
        return {at: _name(self._tensors[at]) for at, has_range in enumerate(marked) if has_range}

    @property
    def grids(self) -> tuple[WeightGrid, ...]:
        """Return 8 bits per channel for every convolution and dense layer."""
        codes = [code.builtinCode for code in self._model.operatorCodes]
        return tuple(
            WeightGrid(layer=_name(self._tensors[op.inputs[_FILTER_AT]]), bits=8, scope="channel")
            for op in self._model.subgraphs[0].operators
            if codes[op.opcodeIndex] in _WEIGHTED
        )

    def observe(self, images: npt.NDArray[np.uint8]) -> Iterator[Values]:
        """Yield the values of all activations for each uint8 image (n, h, w, c)."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        interpreter = Interpreter(
            model_content=self.content,
            experimental_preserve_all_tensors=True,
            # a delegate would keep what it computes to itself
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            num_threads=1,
        )
        interpreter.allocate_tensors()
        entrance = interpreter.get_input_details()[0]["index"]
        activations = self._activations
        for image in images:
            interpreter.set_tensor(entrance, image[np.newaxis].astype(np.float32))
            interpreter.invoke()
            yield {name: interpreter.get_tensor(at) for at, name in activations.items()}

    def quantized(self, plan: QuantizationPlan) -> bytes:
        """Return the int8 file that a plan describes, int8 in and out."""
        plan.require_fitting(self.format, self.grids)
        for at, name in self._activations.items():
            if name not in plan.ranges:
                raise HemlineError(f"the plan has no range for {name}")
            span = self._tensors[at].quantization
            span.min, span.max = (np.array([end], np.float32) for end in plan.ranges[name])
        model: bytes = mlir_quantize(
            flatbuffer_utils.convert_object_to_bytearray(self._model),
            input_data_type=tf.int8,
            output_data_type=tf.int8,
        )
        content: bytes = deduplicate_readonly_buffers(model)
        return content


def _name(tensor: Any) -> str:
    return str(tensor.name.decode())

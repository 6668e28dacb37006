"""One model on its way into several schemes: what they share is made once."""

from __future__ import annotations

import abc
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.closing import Closing
from hemline.contract.specs import LOGITS, Format, InputSpec
from hemline.export.quantization.float_graph import FloatGraph


class ModelSource(Closing, abc.ABC):
    """A model of any kind, with what the writers need.

    input: how pixels become its input tensor.
    outputs: names of the outputs that its files have: logits, embedding, or of a layer.
    weighted_layers: how many layers have weights.
    """

    input: InputSpec
    outputs: tuple[str, ...]
    weighted_layers: int

    @property
    @abc.abstractmethod
    def saved_model(self) -> str:
        """Return the folder of a SavedModel with a signature; it is there until the source closes.

        It takes float32 images (n, h, w, c), each pixel 0 … 255.
        """

    @property
    @abc.abstractmethod
    def onnx(self) -> Any:
        """Return the float32 ONNX ModelProto, whose outputs have the names of `outputs`."""

    @abc.abstractmethod
    def run(self, images: npt.NDArray[np.uint8], output: str = LOGITS) -> npt.NDArray[np.float32]:
        """Return one output for uint8 images (n, h, w, c), by the model in its own runtime.

        Any output that the model can give has a name here, whatever `outputs` says.
        """

    def float_graph(self, graph: Format) -> FloatGraph:
        """Return the float graph of a format, which plans and int8 files are made from."""
        return self._tflite_graph if graph == "tflite" else self._onnx_graph

    @functools.cached_property
    def _tflite_graph(self) -> FloatGraph:
        from hemline.export.quantization.tflite_graph import TFLiteGraph

        return TFLiteGraph(self.saved_model, self.input.shape)

    @functools.cached_property
    def _onnx_graph(self) -> FloatGraph:
        from hemline.export.quantization.onnx_graph import OnnxGraph

        return OnnxGraph(self.onnx)

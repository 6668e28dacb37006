"""One model on its way into several schemes: what they share is made once."""

from __future__ import annotations

import abc
import functools
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from hemline.closing import Closing
from hemline.contract.specs import LOGITS, InputSpec
from hemline.data.image_rows import ImageRows
from hemline.pictures.generated import varied_images

if TYPE_CHECKING:
    from hemline.export.quantization.float_graph import FloatGraph


class ModelSource(Closing, abc.ABC):
    """A model of any kind, with what the writers need.

    input: how pixels become its input tensor.
    outputs: names of the outputs that its files have: logits, embedding, or of a layer.
    weighted_layers: how many layers have weights.
    delegate: what runs it.
    """

    delegate: ClassVar[str] = "TensorFlow"
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
    def run(self, images: ImageRows, output: str = LOGITS) -> npt.NDArray[np.float32]:
        """Return one output for uint8 images (n, h, w, c), by the model in its own runtime.

        Any output that the model can give has a name here, whatever `outputs` says.
        """

    def synthetic_images(self, count: int, seed: int) -> npt.NDArray[np.uint8]:
        """Return uint8 images (count, h, w, c) for calibration without data: drawn pictures."""
        return varied_images(self.input.shape, count, seed=seed)

    @functools.cached_property
    def float_graph(self) -> FloatGraph:
        """Return the normalized graph, which plans and the 8-bit files of both formats are of."""
        from hemline.export.quantization.float_graph import FloatGraph

        return FloatGraph(self.graph)

    @property
    def graph(self) -> Any:
        """Return the normalized ONNX ModelProto: pixels in, logits out, all constants folded."""
        from hemline.export.graph.normalization import normalized

        return normalized(self.onnx, outputs=tuple(each.name for each in self.onnx.graph.output))

"""A normalized ONNX graph as a source: an imported model, or any other by way of it."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx as onnx_format

from hemline.contract.specs import EMBEDDING, LOGITS, InputSpec
from hemline.data.image_rows import ImageRows
from hemline.errors import FileFormatError, UnknownNameError
from hemline.export.graph.editing import Graph, with_batch_of_one
from hemline.export.graph.passes.heads import embedding_of
from hemline.export.graph.rebuild import saved_model
from hemline.export.graph.running import run_batches
from hemline.export.sources.source import ModelSource
from hemline.folders import TemporaryFolder

_WEIGHTED = ("Conv", "Gemm", "MatMul", "ConvTranspose")


class GraphSource(ModelSource):
    """A normalized graph ready to convert."""

    delegate = "ONNX Runtime"

    def __init__(self, proto: onnx_format.ModelProto, outputs: tuple[str, ...] = (LOGITS,)) -> None:
        """Take a graph as `normalized` makes it; `outputs` are those that its files have."""
        self._graph = Graph(with_batch_of_one(proto))
        height, width, channels = self._graph.shape(self._graph.image)[1:]
        self.input = InputSpec(height=height, width=width, channels=channels, dtype="float32")
        self.outputs = outputs
        self.weighted_layers = sum(
            node.op in _WEIGHTED and node.inputs[1] in self._graph.constants
            for node in self._graph.nodes
        )
        self._proto = proto
        self._folder = TemporaryFolder()

    @functools.cached_property
    def onnx(self) -> onnx_format.ModelProto:
        """Return the graph with the outputs that were asked for."""
        return self._with_outputs(self.outputs)

    @property
    def graph(self) -> onnx_format.ModelProto:
        """Return the same: it is normalized."""
        return self.onnx

    @functools.cached_property
    def saved_model(self) -> str:
        """Return the folder of the SavedModel, whose signature the converters need."""
        path = f"{self._folder.name}/saved_model"
        saved_model(self.onnx, path)
        return path

    def run(self, images: ImageRows, output: str = LOGITS) -> npt.NDArray[np.float32]:
        """Return one output, or any value, for uint8 images (n, h, w, c), by ONNX Runtime."""
        found = run_batches(self._with_outputs((output,)), (output,), images)
        return np.concatenate([each[output] for each in found])

    def close(self) -> None:
        """Remove the SavedModel."""
        self._folder.cleanup()

    def _with_outputs(self, names: tuple[str, ...]) -> onnx_format.ModelProto:
        """Return the graph with outputs of these names; raises UnknownNameError for another."""
        if names == tuple(self._graph.outputs):
            return self._proto
        graph = Graph(with_batch_of_one(self._proto))
        graph.outputs = [self._named(graph, name) for name in names]
        graph.drop_unused()
        proto = graph.proto(open_batch=True)
        return onnx_format.shape_inference.infer_shapes(proto, data_prop=True)

    def _named(self, graph: Graph, name: str) -> str:
        if name == EMBEDDING and EMBEDDING not in graph.shapes:
            value = embedding_of(graph)
            graph.rename_value(value, EMBEDDING)
            return EMBEDDING
        if name not in graph.shapes:
            raise UnknownNameError("value", name, graph.shapes)
        return name


def open_graph(path: Path, outputs: tuple[str, ...]) -> GraphSource:
    """Read a normalized graph; raises FileFormatError for what is not one."""
    try:
        proto = onnx_format.load(path)
        del proto.metadata_props[:]  # the stamp of a checkpoint's model is not that of an artifact
    except Exception as error:  # protobuf has its own, for bytes that are none
        raise FileFormatError(f"{path} is not a model that was imported: {error}") from error
    return GraphSource(proto, outputs)

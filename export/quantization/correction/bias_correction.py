"""Take back the mean error that quantization adds to each channel, by the biases.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, §4.2, by
images instead of the statistics of batch normalization, which a folded graph has no more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from hemline.contract.steps import Step
from hemline.export.graph.editing import Graph, Node, with_batch_of_one
from hemline.export.graph.passes.folding import set_bias
from hemline.export.quantization.calibrators.table import Values
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.quantized import Quantized
from hemline.export.quantization.simulation import batches

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]

_IMAGES = 256  # a mean over their positions is known to a hundredth of the values' spread


def bias_corrected(quantized: Quantized, images: Pixels) -> Quantized:
    """Return the same plan for biases with which each channel has its mean in float again.

    Layer by layer in the order of the graph, so that each corrects what those before it left; the
    means are over uint8 images (n, h, w, c), the first 256 of them.
    """
    images = images[:_IMAGES]
    graph = Graph(with_batch_of_one(quantized.float_graph.proto))
    layers = [node for node in graph.nodes if _is_correctable(graph, quantized.float_graph, node)]
    names = [node.output for node in layers]
    wanted = _means(quantized.float_graph.observe(images, names))
    current = quantized
    for node in layers:
        found = _means(batches(current, [node.output], images))
        error = found[node.output] - wanted[node.output]
        bias = graph.constant(node.input(2))
        set_bias(graph, node, -error if bias is None else bias.reshape(-1) - error)
        proto = onnx.shape_inference.infer_shapes(graph.proto(open_batch=True), data_prop=True)
        current = replace(current, float_graph=FloatGraph(proto))
    step = Step(
        name="bias correction", detail=f"{len(layers)} layers, by means over {len(images)} images"
    )
    return replace(current, steps=(*quantized.steps, step))


def _is_correctable(graph: Graph, float_graph: FloatGraph, node: Node) -> bool:
    """Return whether a node has a bias, or can have one: a product of matrices only as a layer."""
    weighted = {each.output for each in float_graph.weighted}
    return node.output in weighted and (node.op != "MatMul" or graph.rank(node.output) == 2)


def _means(values: Iterable[Values]) -> dict[str, Vector]:
    """Return the mean of each channel: along axis 1, in matrices as in maps."""
    sums: dict[str, Vector] = {}
    counts: dict[str, int] = {}
    for batch in values:
        for name, each in batch.items():
            others = (0, *range(2, each.ndim))
            sums[name] = sums.get(name, 0.0) + each.sum(axis=others, dtype=np.float64)
            counts[name] = counts.get(name, 0) + each.size // each.shape[1]
    return {name: total / counts[name] for name, total in sums.items()}

"""The beginning of a classifier: pixels 0 … 255, channels last, whatever the source takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hemline.errors import FileFormatError
from hemline.export.graph.editing import Graph
from hemline.export.graph.forms import SourceInput
from hemline.export.graph.passes.folding import affine_of, insert_depthwise

IMAGE = "image"  # the name of the input
_LAYOUT = ("Reshape", "Transpose")


def write_pixel_input(
    graph: Graph, image: SourceInput, *, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Let pixels in, channels last, where a source takes (pixel − mean) ÷ std in its own layout.

    What is computed of them is folded later. Raises FileFormatError for numbers that are not one
    for all channels or one for each.
    """
    shape = (1, *image.pixels)
    old = graph.image
    graph.image = IMAGE if old == IMAGE or IMAGE not in graph.shapes else graph.fresh(IMAGE)
    graph.shapes[graph.image] = shape
    value = _in_layout(graph, image)
    centre, spread = _numbers(mean, image), _numbers(std, image)
    axis = {"nchw": 1, "nhwc": 3, "nhw": 0}[image.layout]
    numbers = [1] * len(image.shape)
    numbers[axis] = -1
    readers = [node for node in graph.consumers(old) if node.outputs[0] != value]
    if centre.any():
        constant = graph.add_constant("mean", centre.reshape(numbers))
        value = graph.insert(_first(graph, value), "Sub", [value, constant], shape=image.shape)
    if (spread != 1).any():
        constant = graph.add_constant("scale", (1 / spread).reshape(numbers))
        value = graph.insert(_first(graph, value), "Mul", [value, constant], shape=image.shape)
    for node in readers:
        node.inputs = [value if each == old else each for each in node.inputs]
    graph.outputs = [value if each == old else each for each in graph.outputs]
    graph.changed()


def _first(graph: Graph, name: str) -> int:
    """Return the position behind what makes a value."""
    maker = graph.maker(name)
    return 0 if maker is None else graph.nodes.index(maker) + 1


def _in_layout(graph: Graph, image: SourceInput) -> str:
    """Return the name of the image in the layout of the source."""
    if image.layout == "nhwc":
        return graph.image
    if image.layout == "nchw":
        return graph.insert(0, "Transpose", [graph.image], shape=image.shape, perm=[0, 3, 1, 2])
    target = graph.add_constant("shape", np.array(image.shape, np.int64))
    return graph.insert(0, "Reshape", [graph.image, target], shape=image.shape)


def _numbers(given: Sequence[float], image: SourceInput) -> npt.NDArray[np.float32]:
    channels = image.pixels[2]
    if len(given) not in (1, channels):
        raise FileFormatError(f"{len(given)} numbers do not match an image of {channels} channels")
    return np.broadcast_to(np.asarray(given, np.float32), channels).copy()


def centre_by_convolution(graph: Graph) -> None:
    """Subtract a mean that padding keeps out of the first weights in a convolution of 1 × 1.

    Its kernel is 1 and its bias the mean: in 8 bits exact to half a step, where the constant of a
    subtraction would be rounded to a grid of its own.
    """
    name = graph.image
    while (node := graph.only_consumer(name)) is not None:
        affine = affine_of(graph, node, 1)
        if affine is not None and graph.rank(name) == 4 and affine.offset.any():
            output = insert_depthwise(graph, graph.nodes.index(node), affine)
            graph.redirect(node.output, output)
            graph.remove(node)
            return
        if node.op not in (*_LAYOUT, "Resize", "Pad", "Mul", "Div"):
            return
        name = node.output

"""Where the points of a plan are: the values of a graph that 8 bits hold, and who shares a grid.

Both formats have their 8-bit operators between these points, so that both round at the same places.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hemline.export.graph.editing import Graph, Node

Range = tuple[float, float]

LAYOUT = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
# They give values of their input only, or means of some: the runtimes want one grid around them.
_SHARING = frozenset(
    {
        "MaxPool",
        "AveragePool",
        "GlobalMaxPool",
        "ReduceMax",
        "Pad",
        "Slice",
        "Split",
        "Gather",
        "Resize",
        "DepthToSpace",
        "SpaceToDepth",
    }
)
# Both runtimes compute the activation behind these in the same step.
_ACTIVATED = frozenset({"Conv", "Gemm", "MatMul", "Add", "Sub", "Mul"})
PIXELS: Range = (0.0, 255.0)
# Ranges that TFLite demands of the outputs of operators
_FIXED: dict[str, Range] = {
    "Sigmoid": (0.0, 255 / 256),
    "Softmax": (0.0, 255 / 256),
    "Tanh": (-1.0, 127 / 128),
}


@dataclass(slots=True, kw_only=True)
class Points:
    """The points of a graph.

    quantized: the values that are rounded to 8 bits, in the order of the graph, the image first.
    fixed: the ranges that no calibration finds, by the value that owns the grid.
    """

    quantized: list[str] = field(default_factory=list)
    fixed: dict[str, Range] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)
    _calculated: list[str] = field(default_factory=list)

    def owner(self, value: str) -> str | None:
        """Return the value that names the grid of a value; None for one without a grid."""
        owner = self._owners.get(value)
        while owner is not None and owner != self._owners[owner]:
            owner = self._owners[owner]
        return owner

    @property
    def owners(self) -> tuple[str, ...]:
        """Return the values that name a grid, in the order of the graph."""
        return tuple(dict.fromkeys(str(self.owner(value)) for value in self.quantized))

    @property
    def observed(self) -> tuple[str, ...]:
        """Return the values whose ranges are to be found: none whose grid is given by others."""
        return tuple(each for each in self._calculated if self.owner(each) not in self.fixed)

    def add(self, value: str, fixed: Range | None = None) -> None:
        """Give a value a point with a range of its own."""
        self.quantized.append(value)
        self._calculated.append(value)
        self._owners[value] = value
        if fixed is not None:
            self.fixed[value] = fixed

    def share(self, value: str, other: str, *, point: bool) -> None:
        """Give a value the grid of another, with a point or, where nothing is calculated, none."""
        self._owners[value] = other
        if point:
            self.quantized.append(value)

    def join(self, value: str, other: str) -> None:
        """Let the grids of two values be one, if both are free."""
        first, second = self.owner(value), self.owner(other)
        if first is not None and second is not None and not {first, second} & self.fixed.keys():
            self._owners[second] = first


def find_points(graph: Graph) -> Points:
    """Return the points of a normalized graph.

    There is none between a convolution, dense layer or sum and the ReLU or ReLU6 behind it, and
    none behind an operator that only moves values.
    """
    points = Points()
    points.add(graph.image, PIXELS)
    for node in graph.nodes:
        given = points.owner(node.inputs[0]) if node.inputs else None
        if node.op in LAYOUT and given is not None:
            points.share(node.output, node.inputs[0], point=False)
        elif node.op in _SHARING and given is not None and not _over_the_whole_map(graph, node):
            for output in node.outputs:
                points.share(output, node.inputs[0], point=True)
        elif not _is_activated(graph, node):
            for output in node.outputs:
                points.add(output, _FIXED.get(node.op))
        if node.op == "Concat":
            for each in node.inputs:
                points.join(node.output, each)
    return points


def _is_activated(graph: Graph, node: Node) -> bool:
    """Return whether a node's output goes to a ReLU or ReLU6 alone, which one operator does too."""
    following = graph.only_consumer(node.output) if node.op in _ACTIVATED else None
    if following is None:
        return False
    bounds = [graph.scalar(name) for name in following.inputs[1:]]
    return following.op == "Relu" or (following.op == "Clip" and bounds == [0, 6])


def _over_the_whole_map(graph: Graph, node: Node) -> bool:
    """Return whether a node is an average of a whole map: a mean, which has a range of its own."""
    if node.op != "AveragePool":
        return False
    return tuple(node.attributes["kernel_shape"]) == graph.shape(node.inputs[0])[2:]

"""The layers of a model with weights, and which of their channel counts change together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hemline.bench.profiling.one_operator import (
    Arithmetic,
    Convolution,
    one_convolution,
    one_product,
)
from hemline.contract.specs import Format
from hemline.model_files.contents import Contents, Operator, Tensor

# with those of the graph that ONNX Runtime executes
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "Conv", "FusedConv", "QLinearConv", "ConvInteger")
_SHAPES = ("SHAPE", "Shape")
_PRODUCTS = ("FULLY_CONNECTED", "Gemm", "MatMul", "QGemm", "QLinearMatMul", "MatMulInteger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution, or a product (height × channels_in) · (channels_in × channels_out).

    name: of its output, in a few words.
    shape: with width, kernel and stride 1 for a product.
    reads, makes: number of the group of channels of its input and output; None for fixed ones.
    """

    name: str
    shape: Convolution
    product: bool
    reads: int | None
    makes: int | None

    @property
    def key(self) -> tuple[object, ...]:
        """Return what decides its time."""
        return self.shape, self.product

    def content(self, file_format: Format) -> bytes:
        """Return a model of this layer alone, with random weights."""
        if not self.product:
            return one_convolution(self.shape, file_format)
        made, inner, rows = self.shape.channels_out, self.shape.channels_in, self.shape.height
        return one_product(rows, inner, made, self.shape.arithmetic, file_format)

    def widened(self, group: int, channels: int) -> Layer:
        """Return the layer with so many channels in a group."""
        sides = {"channels_in": self.reads, "channels_out": self.makes}
        changed = {side: channels for side, own in sides.items() if own == group}
        return replace(self, shape=replace(self.shape, **changed))  # type: ignore[arg-type]


def layers_of(contents: Contents, arithmetic: Arithmetic | None) -> tuple[Layer, ...]:
    """Return the layers of a model, as they are or all in one arithmetic."""
    return tuple(_Groups(contents.computing(), arithmetic).layers())


class _Groups:
    """Channels that must be as many: of tensors that are added, pooled, or passed on."""

    def __init__(self, contents: Contents, arithmetic: Arithmetic | None) -> None:
        self._contents, self._arithmetic = contents, arithmetic
        self._onnx = contents.format == "onnx"
        self._axis = 1 if self._onnx and not self._channels_last() else -1
        self._of: dict[str, str] = {}  # a tensor to another one of its group

    def layers(self) -> Iterator[Layer]:
        """Yield the layers; an operator that mixes channels otherwise fixes them."""
        found = []
        for operator in self._contents.operators:
            reads, (made, *_) = self._activations(operator), operator.outputs
            shape = self._shape(operator, reads[0], made) if reads else None
            if shape is not None:
                found.append((operator, shape, reads[0].name, made))
            if (shape is None and operator.kind not in _SHAPES) or (shape and shape.depthwise):
                self._join(reads, made)
        fixed = {self._root(name) for name in (*self._contents.inputs, *self._contents.outputs, "")}
        numbers: dict[str, int] = {}
        for operator, shape, read, made in found:
            roots = (self._root(read), self._root(made))
            one, other = (
                None if root in fixed else numbers.setdefault(root, len(numbers)) for root in roots
            )
            product = operator.kind in _PRODUCTS
            weights = self._contents.weights_of(operator)[0].name
            # TensorFlow's converter gives an output the names of all that it fused
            name = short_name(weights if "/" in weights else made)
            yield Layer(name=name, shape=shape, product=product, reads=one, makes=other)

    def _channels_last(self) -> bool:
        """Tell whether ONNX Runtime has moved the channels of its convolutions to the end."""
        for operator in self._contents.operators:
            made = self._contents.by_name.get(operator.outputs[0])
            if operator.kind == "QLinearConv" and made is not None and made.shape:
                kernel = self._contents.weights_of(operator)[0].shape or (0,)
                return kernel[0] != made.shape[1]
        return False

    def _activations(self, operator: Operator) -> list[Tensor]:
        known = (self._contents.by_name.get(name) for name in operator.inputs)
        return [each for each in known if each is not None and not each.constant and each.shape]

    def _join(self, reads: list[Tensor], made: str) -> None:
        """Let an operator without weights pass its channels on, or fix those that it mixes."""
        result = self._contents.by_name.get(made)
        for read in reads:
            self._of[self._root(read.name)] = self._root(made)
            if self._width(read) != self._width(result):
                self._of[self._root(made)] = self._root("")

    def _root(self, name: str) -> str:
        while (up := self._of.get(name, name)) != name:
            name = up
        return name

    def _width(self, tensor: Tensor | None) -> int:
        shape = () if tensor is None or tensor.shape is None else tensor.shape
        return shape[self._axis if len(shape) == 4 else -1] if shape else 0

    def _shape(self, operator: Operator, read: Tensor, made: str) -> Convolution | None:
        """Return what a layer computes; None for an operator without weights of its own."""
        weights, result = self._contents.weights_of(operator), self._contents.by_name.get(made)
        if operator.kind not in (*_CONVOLUTIONS, *_PRODUCTS) or not weights or result is None:
            return None
        inner, outer, own = self._width(read), self._width(result), self._arithmetic
        if own is None:
            narrow = self._contents.dtype_of(operator) == "int8"
            floats = read.dtype.startswith("float")
            own = ("dynamic" if floats else "int8") if narrow else "float32"
        shape = Convolution(
            height=max(1, read.elements // max(1, inner)),
            width=1,
            channels_in=inner,
            channels_out=outer,
            kernel=1,
            arithmetic=own,
        )
        if operator.kind in _PRODUCTS:
            return shape
        spatial = slice(2, 4) if self._axis == 1 else slice(1, 3)
        kernel = (weights[0].shape or ())[slice(2, 4) if self._onnx else slice(1, 3)]
        (height, width), made_height = (read.shape or ())[spatial], (result.shape or ())[spatial][0]
        if len(set(kernel)) != 1:
            return None
        return replace(
            shape,
            height=height,
            width=width,
            kernel=kernel[0],
            stride=max(1, round(height / made_height)),
            depthwise=inner > 1 and weights[0].elements == outer * kernel[0] ** 2,
        )


def short_name(name: str) -> str:
    """Return the part of a tensor's name that names the layer."""
    parts = name.partition(";")[0].strip("/").split("/")[:-1] or [name]
    return "/".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]

"""What goes into an artifact, what comes out, and which runtimes it supports."""

import math
from dataclasses import dataclass
from typing import Literal

from hemline.contract.schema import added

InputDtype = Literal["float32", "int8", "uint8", "int16"]
OutputDtype = Literal["float32", "int8", "uint8", "int16"]
Format = Literal["tflite", "onnx"]
Accelerator = Literal["cpu", "gpu"]
# How an image of another size becomes the model's (see hemline/pictures/preprocessing.py).
Preprocessing = Literal["stretch", "product-photo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """How 8-bit pixels become the input tensor of shape (n, height, width, channels).

    The real value of a pixel is (pixel − mean) ÷ std; the tensor stores
    round(real ÷ scale) + zero_point, clipped to the dtype. Hemline's own files take pixels:
    mean 0 and std 1.

    height: image rows, pixels.
    width: image columns, pixels.
    channels: values per pixel (1 gray, 3 red-green-blue).
    dtype: of the tensor.
    scale: real value of one stored step; 1.0 for float32.
    zero_point: stored value of real 0; 0 for float32.
    mean: subtracted from a pixel, in pixel units 0 … 255.
    std: divides the difference, in pixel units.
    """

    height: int
    width: int
    channels: int
    dtype: InputDtype
    scale: float = 1.0
    zero_point: int = 0
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.channels) < 1:
            raise ValueError("height, width and channels must be at least 1")
        if self.height * self.width * self.channels > 1 << 26:
            raise ValueError("an image of more than 67 million values is no input of a classifier")
        if not (self.scale > 0 and self.std > 0 and math.isfinite(self.scale * self.std)):
            raise ValueError("scale and std must be positive")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (height, width, channels)."""
        return (self.height, self.width, self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """How the output tensor of shape (n, classes) becomes logits: (stored − zero_point) × scale.

    classes: number of classes, in the order of the labels.
    dtype: of the tensor.
    scale: logit value of one stored step; 1.0 for float32.
    zero_point: stored value of logit 0; 0 for float32.
    gives: logits, or the probabilities of a model with a softmax of its own: a probability p then
        stands for the logit ln p.
    """

    classes: int
    dtype: OutputDtype
    scale: float = 1.0
    zero_point: int = 0
    gives: Literal["logits", "probabilities"] = added("logits")

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ValueError("a classifier has at least 2 classes")
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError("scale must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpec:
    """A second output, of shape (n, size): (stored − zero_point) × scale.

    size: values per image.
    position: of this output among the model's two; the logits are the other one.
    dtype: of the tensor.
    scale: value of one stored step; 1.0 for float32.
    zero_point: stored value of 0; 0 for float32.
    """

    size: int
    position: int
    dtype: OutputDtype
    scale: float = 1.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.position not in (0, 1):
            raise ValueError("an embedding has at least 1 value and is output 0 or 1")
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError("scale must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportedRuntime:
    """A runtime that an artifact supports: one in which it must pass verification.

    runtime: name in the BACKENDS table.
    minimum: first supported version, dotted numbers.
    """

    runtime: str
    minimum: str

    def admits(self, runtime: str, version: str) -> bool:
        """Tell whether this entry covers `runtime` at `version`."""
        return runtime == self.runtime and version_key(version) >= version_key(self.minimum)


def version_key(version: str) -> tuple[int, ...]:
    """Return a sortable key of a dotted version: its leading numbers, 2.3 like 2.3.0."""
    numbers: list[int] = []
    for part in version.split("."):
        # by hand, because compiling an expression takes longer than all of this
        digits = len(part) - len(part.lstrip("0123456789"))
        if digits:
            numbers.append(int(part[:digits]))
        if digits < len(part) or not digits:
            break
    return tuple([*numbers, 0, 0, 0, 0][:4])

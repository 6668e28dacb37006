"""What goes into an artifact, what comes out, and which runtimes it supports."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from hemline.contract.frozen import dataclass
from hemline.contract.schema import added
from hemline.errors import UnknownNameError

InputDtype = Literal["float32", "int8", "uint8", "int16"]
OutputDtype = Literal["float32", "int8", "uint8", "int16"]
Format = Literal["tflite", "onnx", "keras"]
Accelerator = Literal["cpu", "gpu"]
Role = Literal["logits", "embedding", "tap"]
LOCAL = "local"  # the device: this machine
LOGITS, EMBEDDING = "logits", "embedding"  # names of outputs
Status = Literal["passed", "refused", "failed"]  # of an artifact in a runtime
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
    mean: subtracted from a pixel, in pixel units 0 … 255; one number, or one for each channel of
        the tensor.
    std: divides the difference, in pixel units; as the mean.
    bgr: whether the tensor has blue, green and red in this order, and not red, green and blue.
    """

    height: int
    width: int
    channels: int
    dtype: InputDtype
    scale: float = 1.0
    zero_point: int = 0
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    bgr: bool = added(False)

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.channels) < 1:
            raise ValueError("height, width and channels must be at least 1")
        if self.height * self.width * self.channels > 1 << 26:
            raise ValueError("an image of more than 67 million values is not accepted")
        for values in (self.mean, self.std):
            if isinstance(values, tuple) and len(values) != self.channels:
                raise ValueError("mean and std must be one number, or one for each channel")
        if self.bgr and self.channels != 3:
            raise ValueError("blue, green and red order needs 3 channels")
        if not all(std > 0 and self.scale > 0 for _, std in self.levels):
            raise ValueError("scale and std must be positive")
        if not all(math.isfinite(mean + self.scale * std) for mean, std in self.levels):
            raise ValueError("mean, std and scale must be finite")

    @property
    def levels(self) -> tuple[tuple[float, float], ...]:
        """Return (mean, std): one pair for all channels, or one for each where they differ."""
        if not isinstance(self.mean, tuple) and not isinstance(self.std, tuple):
            return ((self.mean, self.std),)
        means = self.mean if isinstance(self.mean, tuple) else (self.mean,) * self.channels
        stds = self.std if isinstance(self.std, tuple) else (self.std,) * self.channels
        return tuple(zip(means, stds, strict=True))

    @property
    def range(self) -> tuple[float, float]:
        """Return the least and the largest that a pixel becomes, in any channel."""
        return (
            min((0 - mean) / std for mean, std in self.levels),
            max((255 - mean) / std for mean, std in self.levels),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (height, width, channels)."""
        return (self.height, self.width, self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One output of a model, of shape (n, …): its real values are (stored − zero_point) × scale.

    name: how jobs ask for it, whatever the file calls it; "logits" for those of the classes.
    role: logits of the classes, an embedding of the image, or a tap (the output of a layer).
    size: values an image; of the logits, the number of classes in the order of the labels.
    dtype: of the tensor.
    scale: real value of one stored step; 1.0 for float32.
    zero_point: stored value of real 0; 0 for float32.
    gives: logits, or the probabilities of a model with a softmax of its own: a probability p then
        stands for the logit ln p.
    position: of this output among those of the file, from 0.
    """

    name: str = LOGITS
    role: Role = "logits"
    size: int
    dtype: OutputDtype
    scale: float = 1.0
    zero_point: int = 0
    gives: Literal["logits", "probabilities"] = added("logits")
    position: int = 0

    def __post_init__(self) -> None:
        if (self.name == LOGITS) != (self.role == "logits"):
            raise ValueError(f"the output {self.name!r} has the role {self.role}")
        if self.size < (2 if self.role == "logits" else 1):
            raise ValueError("a classifier has at least 2 classes, any other output 1 value")
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError("scale must be positive")


class NamedOutputs:
    """What has `outputs`: exactly one of logits, each with a name and a position of its own."""

    __slots__ = ()
    outputs: tuple[OutputSpec, ...]

    @property
    def output(self) -> OutputSpec:
        """Return the logits."""
        return next(each for each in self.outputs if each.role == "logits")

    @property
    def embedding(self) -> OutputSpec | None:
        """Return the embedding, None without one."""
        return next((each for each in self.outputs if each.role == "embedding"), None)

    def find_outputs(self, names: Sequence[str]) -> tuple[OutputSpec, ...]:
        """Return the outputs of these names; raises UnknownNameError with the nearest name."""
        known = {each.name: each for each in self.outputs}
        if unknown := [name for name in names if name not in known]:
            raise UnknownNameError("output", unknown[0], known)
        return tuple(known[name] for name in names)

    def require_outputs(self) -> None:
        """Raise ValueError unless names and positions are distinct and one output is the logits."""
        names = {each.name for each in self.outputs}
        if LOGITS not in names or len(names) != len(self.outputs):
            raise ValueError("outputs must have unique names, and one of them is logits")
        if sorted(each.position for each in self.outputs) != list(range(len(names))):
            raise ValueError(f"outputs must have the positions 0 to {len(names) - 1}")


def upgrade_outputs(document: dict[str, Any]) -> None:
    """Turn `output` and `embedding`, as stamps and manifests had them, into `outputs`."""
    output, embedding = document.pop("output"), document.pop("embedding", None)
    at = 0 if embedding is None else 1 - embedding["position"]
    output["size"] = output.pop("classes")
    document["outputs"] = [{**output, "name": LOGITS, "role": "logits", "position": at}]
    if embedding is not None:
        document["outputs"].append({**embedding, "name": EMBEDDING, "role": "embedding"})


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

"""Input and output of a foreign model, by what its runtime reports and the user specifies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hemline.contract.specs import Format, InputSpec, OutputSpec
from hemline.errors import FileFormatError, UsageError, remedy
from hemline.export.admission.descriptions import Description, TensorFacts
from hemline.export.pixel_scale import PixelScale

Gives = Literal["logits", "probabilities"]
_EIGHT_BIT = ("int8", "uint8")
_FEEDABLE = {"tflite": ("float32", "int8", "uint8", "int16"), "onnx": ("float32", "int8", "uint8")}
_CHANNELS = (1, 3)  # gray and red-green-blue: what image files become
# What 8-bit inputs hold as a rule; the last one is a pixel less 128.
_USUAL_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0), (-128.0, 127.0))
_STEPS_OFF = 2  # of 256, at either end: how far makers of quantized files round such a range
_SUM_ERROR = 1e-3  # of probabilities in float16
_SOFTMAX_STEPS = (256, 255)  # of the outputs of a softmax or sigmoid in 8 bits
_ROUNDING = 1e-6  # of such a value in float32
_LARGEST_SUM_ERROR = 0.1  # with many classes the steps would allow sums that are none of 1


def takes_channels_first(found: Description, path: Path) -> bool:
    """Tell whether a model takes (n, channels, height, width).

    Raises FileFormatError for anything but one input of images and one output.
    """
    for what, tensors in (("input", found.inputs), ("output", found.outputs)):
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors) or "none"
            raise FileFormatError(
                f"{path} has {len(tensors)} {what}s ({names}): a classifier has one"
            )
    shape = found.inputs[0].shape
    if shape is None or len(shape) != 4:
        raise FileFormatError(
            f"{path} accepts {_shown(shape)}: an image classifier accepts (1, height, width, "
            "channels); add the missing axis and convert it again"
        )
    if shape[0] not in (1, -1):
        raise FileFormatError(
            f"{path} accepts {shape[0]} images at once: convert it again for 1, or for any number"
        )
    first = shape[1] in _CHANNELS and shape[3] not in _CHANNELS
    sizes = (*shape[2:], shape[1]) if first else shape[1:]
    if min(sizes[:2]) < 1 and sizes[2] in _CHANNELS:
        raise FileFormatError(
            f"{path} accepts {_shown(shape)}: the image size is not fixed",
            remedy=remedy("image size of model"),
        )
    if sizes[2] not in _CHANNELS or min(sizes) < 1:
        raise FileFormatError(
            f"{path} accepts {_shown(shape)}: height and width must be numbers, and channels 1 or 3"
        )
    return first


def input_spec(
    tensor: TensorFacts, pixels: PixelScale | None, file_format: Format, path: Path
) -> InputSpec:
    """Return how pixels become an input of (n, height, width, channels).

    Raises FileFormatError for an input that takes no pixels, UsageError where the pixel range must
    be specified.
    """
    if tensor.dtype not in _FEEDABLE[file_format]:
        raise FileFormatError(
            f"{path} accepts {tensor.dtype}: image inputs are {', '.join(_FEEDABLE[file_format])}"
        )
    dtype: Any = tensor.dtype
    scale = tensor.scale if tensor.scale > 0 and dtype != "float32" else 1.0
    zero_point = tensor.zero_point if scale == tensor.scale else 0
    if dtype != "float32":
        limits = np.iinfo(dtype)
        held = ((limits.min - zero_point) * scale, (limits.max - zero_point) * scale)
        pixels = pixels or (_usual(held, scale) if dtype in _EIGHT_BIT else None)
        _require_room(pixels, held, path)
    if pixels is None:
        holds = "" if dtype == "float32" else f" with values from {held[0]:.4g} to {held[1]:.4g}"
        raise UsageError(
            f"{path} accepts {dtype}{holds}: its pixel range is unknown",
            remedy=remedy("pixel range"),
        )
    _, height, width, channels = tensor.shape or ()
    with _checked(path):
        return InputSpec(
            height=height,
            width=width,
            channels=channels,
            dtype=dtype,
            scale=scale,
            zero_point=zero_point,
            mean=pixels.mean,
            std=pixels.std,
            bgr=pixels.bgr,
        )


def output_spec(tensor: TensorFacts, classes: int, file_format: Format, path: Path) -> OutputSpec:
    """Return an output of `classes` logits; whether it gives these is seen when it runs.

    Raises FileFormatError for an output that is none of a classifier, UsageError when it has
    another number of classes.
    """
    shape = () if tensor.shape is None and file_format == "tflite" else tensor.shape
    if shape is not None and len(shape) != 2:
        raise FileFormatError(
            f"{path} returns {_shown(shape)}: a classifier returns (1, classes), one row per image"
        )
    quantized = tensor.dtype in (*_EIGHT_BIT, "int16")
    if tensor.dtype != "float32" and not (quantized and tensor.scale > 0):
        raise FileFormatError(
            f"{path} returns "
            f"{tensor.dtype}{' without saying what a step is worth' if quantized else ''}: a "
            "classifier returns float32 or quantized logits or probabilities"
        )
    if shape is not None and shape[1] == 1:
        raise FileFormatError(
            f"{path} returns one value per image: a classifier returns one for each of 2 or more "
            "classes"
        )
    if shape is not None and shape[1] not in (-1, classes):
        raise UsageError(f"{path} has {shape[1]} classes, but {classes} labels are given")
    dtype: Any = tensor.dtype
    with _checked(path):
        return OutputSpec(
            size=classes,
            dtype=dtype,
            scale=tensor.scale if quantized else 1.0,
            zero_point=tensor.zero_point if quantized else 0,
        )


def gives(outputs: npt.NDArray[np.float32], output: OutputSpec, path: Path) -> Gives:
    """Return what outputs, float32 (n, classes), look like.

    Probabilities lie in 0 … 1 and sum to 1. Raises UsageError where only the first is so.
    """
    step = output.scale if output.dtype != "float32" else _step_of(outputs)
    # rounded to steps, each probability may be off by half a step
    allowed = min(max(_SUM_ERROR, output.size * step / 2), _LARGEST_SUM_ERROR)
    if outputs.min() < -_SUM_ERROR or outputs.max() > 1 + allowed:
        return "logits"
    sums = outputs.sum(axis=1)
    if np.abs(sums - 1).max() <= allowed:
        return "probabilities"
    raise UsageError(
        f"{path} returns values from 0 to 1 that sum to {sums.min():.3g} … {sums.max():.3g}: "
        "logits or probabilities?",
        remedy=remedy("kind of output"),
    )


def _step_of(outputs: npt.NDArray[np.float32]) -> float:
    """Return the step of probabilities that were dequantized inside of the model, 0 for others."""
    for steps in _SOFTMAX_STEPS:
        counts = outputs * steps
        if np.abs(counts - counts.round()).max() < _ROUNDING * steps:
            return 1 / steps
    return 0.0


def _usual(held: tuple[float, float], scale: float) -> PixelScale | None:
    """Return the usual range that an 8-bit input holds, None where it holds another one."""
    for low, high in _USUAL_RANGES:
        if max(abs(held[0] - low), abs(held[1] - high)) <= _STEPS_OFF * scale:
            return PixelScale.of_range(low, high)
    return None


def _require_room(pixels: PixelScale | None, held: tuple[float, float], path: Path) -> None:
    if pixels is None:
        return
    (low, high), size = pixels.range, held[1] - held[0]
    # a tenth beyond is what calibration on images without black or white leaves out
    if low < held[0] - size / 10 or high > held[1] + size / 10:
        problem = "be clipped"
    elif high - low < size / 4:
        problem = "be nearly identical"
    else:
        return
    raise UsageError(
        f"{path} accepts {held[0]:.4g} … {held[1]:.4g}: pixels as {low:.4g} … {high:.4g} would "
        f"{problem}",
        remedy=remedy("other pixel range"),
    )


@contextmanager
def _checked(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise FileFormatError(f"{path} cannot be used: {error}") from error


def _shown(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "an unknown number of axes"
    return f"({', '.join('any' if size < 0 else str(size) for size in shape)})"

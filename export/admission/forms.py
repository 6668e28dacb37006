"""Bring a foreign model to one input (n, height, width, channels) and one output (n, classes).

The file is changed, not the device runtime: operators that reshape, transpose or cast are put
before the model's first and behind its last one, so that every later run is as fast as ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hemline.errors import UsageError
from hemline.export.admission.descriptions import Description, TensorFacts

_CHANNELS = (1, 3)
_CAST = {
    "tflite": ("float16", "float64", "int32", "int64"),
    "onnx": ("float16", "float64", "int16", "int32", "int64"),
}
_INTEGERS = ("int32", "int64", "bool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An operator in front of a model.

    kind: what it does.
    accepts: shape of its input, with one image.
    """

    kind: Literal["transpose", "reshape", "cast"]
    accepts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What is changed in a model.

    image: (height, width, channels) of its images.
    channels_first: whether the channels are moved before height and width.
    accepts: shape of the model's own input, −1 for the batch; empty where it is (n, h, w, c) or
        (n, c, h, w).
    cast: dtype that float32 is cast to; empty for none.
    output: position of the output that has the classes.
    classes: number of values an image that the output is reshaped to; 0 to leave it.
    one_value: whether the output has one value for two classes.
    """

    image: tuple[int, int, int]
    channels_first: bool = False
    accepts: tuple[int, ...] = ()
    cast: str = ""
    output: int = 0
    classes: int = 0
    one_value: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return what is put in front of the model, in the order in which an image goes."""
        height, width, channels = self.image
        shape: tuple[int, ...] = (1, *self.image)
        steps = []
        if self.channels_first:
            steps.append(Step(kind="transpose", accepts=shape))
            shape = (1, channels, height, width)
        if self.accepts:
            steps.append(Step(kind="reshape", accepts=shape))
            shape = tuple(max(size, 1) for size in self.accepts)
        if self.cast:
            steps.append(Step(kind="cast", accepts=shape))
        return tuple(steps)


def form_of(
    found: Description,
    classes: int,
    size: tuple[int, int] | None,
    file_format: str,
    path: Path,
    say: Callable[[str], None],
) -> Form | None:
    """Return what must be changed in a model; None for nothing, or what cannot be changed.

    size: (height, width) of the user's images, for a model of any size. Raises UsageError where
    none or several of its outputs have a value for each label.
    """
    if len(found.inputs) != 1 or not found.inputs[0].shape:
        return None
    source = found.inputs[0]
    image = _image(source.shape or (), size)
    if image is None:
        return None
    at = _class_output(found.outputs, classes, path)
    target, shape, (height, width, channels) = found.outputs[at], source.shape or (), image
    regular = len(shape) == 4
    first = shape[-3:] == (channels, height, width) if channels == 3 or regular else False
    first = first and shape[-3:] != image
    one_value = classes == 2 and _size(target) == 1
    reshaped = target.shape is None or len(target.shape) != 2 or -1 in target.shape[1:]
    form = Form(
        image=image,
        channels_first=first,
        accepts=() if regular else shape,
        cast=source.dtype if source.dtype in _CAST[file_format] else "",
        output=at,
        classes=(1 if one_value else classes) if reshaped else 0,
        one_value=one_value,
    )
    fixed = shape[1:] if regular else ()
    changed = (
        not regular
        or form.cast
        or form.classes
        or one_value
        or len(found.outputs) > 1
        or shape[0] > 1
        or -1 in fixed
        or (first and file_format == "tflite")
    )
    if not changed:
        return None
    _say(form, source, target, say, several=len(found.outputs) > 1)
    return form


def _image(shape: tuple[int, ...], size: tuple[int, int] | None) -> tuple[int, int, int] | None:
    """Return (height, width, channels) of an input, None where it is not of images."""
    if len(shape) == 4:
        last = shape[3] in _CHANNELS or shape[1] not in _CHANNELS
        sizes, channels = (shape[1:3], shape[3]) if last else (shape[2:], shape[1])
    elif len(shape) == 3 and shape[2] in _CHANNELS and shape[0] not in _CHANNELS:
        sizes, channels = shape[:2], shape[2]
    elif len(shape) == 3 and shape[0] in (-1, *_CHANNELS):
        sizes, channels = shape[1:], max(shape[0], 1)
    else:
        return None
    if min(sizes) < 0 and size is not None:
        sizes = size
    if min(sizes) < 1 or channels not in _CHANNELS:
        return None
    return sizes[0], sizes[1], channels


def _class_output(outputs: tuple[TensorFacts, ...], classes: int, path: Path) -> int:
    """Return the position of the only output with a value for each label."""
    if len(outputs) == 1:
        return 0
    fitting = [at for at, each in enumerate(outputs) if _size(each) == classes]
    if len(fitting) == 1 and outputs[fitting[0]].dtype not in _INTEGERS:
        return fitting[0]
    shown = ", ".join(f"{each.name} with {_size(each) or 'any'} values" for each in outputs)
    how_many = "several of them have" if fitting else "none of them has"
    raise UsageError(
        f"{path} has {len(outputs)} outputs ({shown}) and {how_many} one float value for each of "
        f"the {classes} labels: convert it again with only the class output"
    )


def _size(tensor: TensorFacts) -> int:
    """Return the values an image, 0 where the runtime does not know."""
    shape = tensor.shape or (0,)
    values = shape if len(shape) == 1 else shape[1:]
    return 0 if min(values) < 0 else math.prod(values)


def _say(
    form: Form,
    source: TensorFacts,
    target: TensorFacts,
    say: Callable[[str], None],
    *,
    several: bool,
) -> None:
    shape = source.shape or ()
    if form.accepts:
        say(f"accepts {shape}: the copy reshapes its input")
    if form.cast:
        say(f"accepts {form.cast}: the copy casts float32 pixels to it")
    if len(shape) == 4 and shape[0] > 1:
        say(f"expects batches of {shape[0]}: the copy accepts one image, or any number")
    if -1 in shape[1:]:
        say(
            f"accepts any size: the copy accepts {form.image[0]} × {form.image[1]}, the size of "
            "the images"
        )
    if several:
        say(f"has several outputs: the copy keeps {target.name}, with one value for each label")
    if form.one_value:
        say("returns one value: the copy returns two, the complement for the first label")

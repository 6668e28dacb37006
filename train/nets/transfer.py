"""Published architectures from keras.applications, with pixels in and a new top."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from hemline.errors import FileFormatError, UsageError
from hemline.train.nets.design import Design

ALPHA = 0.35  # of MobileNetV2's channels: the smallest that has published weights
_SMALLEST = 32  # pixels a side, of all three
# The means of ImageNet's blue, green and red, which the Caffe models were trained without.
_CAFFE_MEANS = (103.939, 116.779, 123.68)
_BN_MOMENTUM = 0.99  # 0.999 of the original averages over more steps than two epochs have here
_HEAD = "head"  # the names of the layers on top begin so
_OTHER_SHAPE = "layer {0} has shape {2} in the file, not {1}"
_OTHER_COUNT = "layer {0} counts {2} arrays in the file, not {1}"
# What Keras says of weights that do not fit, in files of Keras 3 and of 1 and 2.
_MISFITS = (
    (r"name=([^,>]+).*?variable\.shape=(\([^)]*\)).*?value\.shape=(\([^)]*\))", _OTHER_SHAPE),
    (r"named ([^)]+)\).*?expects shape (\([^)]*\)).*?with shape (\([^)]*\))", _OTHER_SHAPE),
    (r"Layer '([^']+)' expected (\d+) variables, but received (\d+)", _OTHER_COUNT),
    (r"named ([^ )]+).*?expects (\d+) weight\(s\)\. Received (\d+)", _OTHER_COUNT),
    (r"expected (\d+) layers, found (\d+)", "it has {0} layers with weights, the file {1}"),
)


def build_mobilenetv2(shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build MobileNetV2 (Sandler et al., 2018) with 0.35 of its channels, at 56 × 56."""

    def body(pixels: keras.KerasTensor) -> keras.Model:
        model = keras.applications.MobileNetV2(
            input_tensor=_from_minus_one_to_one(pixels),
            alpha=ALPHA * design.width,
            include_top=False,
            weights=None,
        )
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = _BN_MOMENTUM
        return model

    return _build("mobilenetv2", body, shape, classes, design, side=56)


def build_vgg16(shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build VGG16 (Simonyan and Zisserman, 2015) at 48 × 48."""
    return _build("vgg16", _caffe(keras.applications.VGG16), shape, classes, design, side=48)


def build_resnet50(shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build ResNet50 (He et al., 2016) at 64 × 64."""
    return _build("resnet50", _caffe(keras.applications.ResNet50), shape, classes, design, side=64)


def _caffe(application: Callable[..., keras.Model]) -> Callable[[keras.KerasTensor], keras.Model]:
    return lambda pixels: application(
        input_tensor=_without_means(pixels), include_top=False, weights=None
    )


def below_the_head(model: keras.Model) -> list[keras.Layer]:
    """Return the layers below the new top, from the input on; all layers of other models."""
    return [layer for layer in model.layers if not layer.name.startswith(_HEAD)]


def freeze(model: keras.Model, *, but_last: int) -> None:
    """Let only the new top train, and the last so many layers with weights below it.

    Batch normalization below the top stays as it was trained: small batches would spoil it.
    """
    with_weights = [layer for layer in below_the_head(model) if layer.weights]
    free = set(map(id, with_weights[len(with_weights) - but_last :])) if but_last else set()
    for layer in below_the_head(model):
        normalizes = isinstance(layer, layers.BatchNormalization)
        layer.trainable = id(layer) in free and not normalizes


def _build(
    name: str,
    body_of: Callable[[keras.KerasTensor], keras.Model],
    shape: tuple[int, int, int],
    classes: int,
    design: Design,
    *,
    side: int,
) -> keras.Model:
    side = design.resize or side
    if side < _SMALLEST:
        raise UsageError(f"{name} needs images of at least {_SMALLEST} pixels: raise resize")
    pixels = keras.Input(shape, name="image")
    x: Any = pixels
    if shape[:2] != (side, side):
        # Its default is True, which would have all that follows train whenever nobody says not to.
        x = layers.Resizing(side, side, name="resize")(x, training=False)
    body = body_of(x)
    if design.weights is not None:
        _load_weights(name, body, design.weights)
    x = layers.GlobalAveragePooling2D(name=f"{_HEAD}_pool")(body.output)
    x = layers.Dropout(design.drop(0.2), name=f"{_HEAD}_dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name=f"{_HEAD}_logits")(x)
    return keras.Model(pixels, logits, name=name)


def _load_weights(name: str, body: keras.Model, path: Path) -> None:
    """Load pretrained weights from any file of Keras; other layers that it has too are left out.

    It may be of a whole model that contains the body. Raises UsageError for those of another
    architecture, FileFormatError for a damaged file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for each layer that does not fit
            body.load_weights(path)
    except (ValueError, KeyError) as error:
        if _load_by_name(body, path):
            return
        raise UsageError(
            f"{path} does not have the weights of {name} below its top: {_misfit(error)}; "
            "name other weights"
        ) from error
    except (OSError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{path} is damaged ({error}): fetch or save it again") from error


def _load_by_name(body: keras.Model, path: Path) -> bool:
    """Load the weights that a whole model has under the body's names; False if one is missing."""
    try:
        stored = _stored_arrays(path)
    except (ValueError, TypeError, KeyError, OSError):
        return False  # it is not a whole model: the first error says more
    named = {
        layer: [stored.get((layer.name, weight.name)) for weight in layer.weights]
        for layer in body.layers
    }
    for layer, arrays in named.items():
        for weight, array in zip(layer.weights, arrays, strict=True):
            if array is None or array.shape != tuple(weight.shape):
                return False
    for layer, arrays in named.items():
        layer.set_weights(arrays)
    return True


def _stored_arrays(path: Path) -> dict[tuple[str, str], npt.NDArray[Any]]:
    """Return (layer, weight) to array, of a whole model, however deep its layers are nested."""
    if path.suffix == ".keras":
        model = keras.models.load_model(path, compile=False)
        layers_in = (each for each in model._flatten_layers() if not isinstance(each, keras.Model))
        return {
            (layer.name, weight.name): np.asarray(weight)
            for layer in layers_in
            for weight in layer.weights
        }
    found: dict[tuple[str, str], npt.NDArray[Any]] = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        *_, layer, weight = ("", *name.split("/"))
        if isinstance(item, h5py.Dataset):
            # Keras 2 calls a depthwise kernel so
            found[layer, weight.partition(":")[0].removeprefix("depthwise_")] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def _misfit(error: Exception) -> str:
    """Return which layer is the first that does not fit, else what Keras says, without values."""
    text = " ".join(str(error).split())
    for pattern, sentence in _MISFITS:
        if found := re.search(pattern, text):
            return sentence.format(*found.groups())
    for more in (" Target variable", " List of objects"):
        text = text.partition(more)[0]
    return text.rstrip(".")


def _from_minus_one_to_one(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Return three channels of −1 … 1: the colours, or copies of gray."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    return x if x.shape[-1] == 3 else layers.Concatenate(name="copies")([x, x, x])


def _without_means(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Return blue, green and red, or copies of gray, less the mean of each.

    Channel by channel: from one subtraction for all of them TensorFlow's converter makes an 8-bit
    input that is not a pixel, its range being joined with that of the means.
    """
    gray = pixels.shape[-1] == 1
    planes = [pixels if gray else pixels[..., at : at + 1] for at in (2, 1, 0)]
    centred = [
        layers.Rescaling(1.0, offset=-mean)(plane)
        for plane, mean in zip(planes, _CAFFE_MEANS, strict=True)
    ]
    return layers.Concatenate(name="blue_green_red")(centred)

"""Keras files: `.keras` and HDF5, of Keras 3 and of Keras 2."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from hemline.errors import FileFormatError
from hemline.export.importing.keras_config import KerasConfig, read_config
from hemline.export.importing.opened import ConversionOptions, OpenedModel, image_shape
from hemline.export.pixel_scale import PixelScale
from hemline.provenance import versions


def open_keras(path: Path, options: ConversionOptions) -> OpenedModel:
    """Open a file that Keras 3 wrote."""
    return _opened(path, options, "keras")


def open_keras2(path: Path, options: ConversionOptions) -> OpenedModel:
    """Open a file that Keras 2 wrote, with tf_keras; Keras 3 opens few of them."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    return _opened(path, options, "tf_keras")


def _opened(path: Path, options: ConversionOptions, package: str) -> OpenedModel:
    config = read_config(path)
    if not options.trust:
        config.require_harmless()
    # only now: it takes seconds
    model = _loaded(path, options, importlib.import_module(package))
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise FileFormatError(
            f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs: a classifier has "
            "one of each"
        )
    shape = image_shape(tuple(model.inputs[0].shape), options.size)

    def call(images: Any) -> Any:
        return model(images, training=False)

    def to_onnx() -> Any:
        from hemline.export.importing.frozen import frozen_onnx

        return frozen_onnx(call, shape)

    return OpenedModel(
        shape=shape,
        run=lambda images: call(images).numpy(),
        to_onnx=to_onnx,
        versions=versions((package, "tensorflow")),
        scale=_scale(config),
    )


def _scale(config: KerasConfig) -> PixelScale | None:
    return PixelScale.of_range(0, 255) if config.takes_pixels else None


def _loaded(path: Path, options: ConversionOptions, keras: Any) -> Any:
    try:
        # a file of HDF5 has no safe mode in Keras: its configuration was searched before
        return keras.models.load_model(path, compile=False, safe_mode=not options.trust)
    except (ValueError, TypeError, AttributeError, KeyError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise FileFormatError(f"cannot be opened by {keras.__name__} ({said})") from error

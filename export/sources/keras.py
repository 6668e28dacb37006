"""A Keras model as a source."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline.contract.specs import LOGITS, InputSpec
from hemline.data.image_rows import ImageRows
from hemline.errors import StorageError
from hemline.export.sources.flattening import with_constant_flatten
from hemline.export.sources.folding import fold_rescaling
from hemline.export.sources.keras_onnx import to_onnx
from hemline.export.sources.outputs import output_of, with_outputs
from hemline.export.sources.source import ModelSource
from hemline.folders import TemporaryFolder
from hemline.train.predictor import Predictor


class KerasSource(ModelSource):
    """A Keras model ready to convert, with its SavedModel made when the first scheme asks."""

    def __init__(self, model: keras.Model, outputs: tuple[str, ...] = (LOGITS,)) -> None:
        """Prepare a model from pixels to logits; `outputs` are those that its files have."""
        height, width, channels = model.input_shape[1:]
        self.input = InputSpec(height=height, width=width, channels=channels, dtype="float32")
        self.outputs = outputs
        self.weighted_layers = sum(1 for layer in model.layers if hasattr(layer, "kernel"))
        self._original = model
        self.model = with_outputs(with_constant_flatten(fold_rescaling(model)), outputs)
        self._folder = TemporaryFolder()

    @functools.cached_property
    def saved_model(self) -> str:
        """Return the folder of the SavedModel, whose signature the converters need."""
        path = f"{self._folder.name}/saved_model"
        archive = keras.export.ExportArchive()
        archive.track(self.model)
        # model.export leaves it to the layers whether they train, and some do
        archive.add_endpoint(
            "serve",
            lambda images: self.model(images, training=False),
            input_signature=[tf.TensorSpec((None, *self.input.shape), tf.float32)],
        )
        try:
            archive.write_out(path, verbose=False)
        except tf.errors.OpError as error:
            raise StorageError(
                f"cannot write the model into {path} ({type(error).__name__}): "
                "make room there, or set TMPDIR to a folder that has some"
            ) from error
        return path

    @functools.cached_property
    def onnx(self) -> Any:
        """Return the ONNX ModelProto in float32."""
        return to_onnx(self.model)

    def run(self, images: ImageRows, output: str = LOGITS) -> npt.NDArray[np.float32]:
        """Return one output for uint8 images (n, h, w, c), by the model as it was trained."""
        model = self._original
        if output != LOGITS:
            model = keras.Model(model.input, output_of(model, output))
        return Predictor(model).logits(images)

    def synthetic_images(self, count: int, seed: int) -> npt.NDArray[np.uint8]:
        """Return uint8 images (count, h, w, c) that fit the statistics of batch normalization."""
        from hemline.export.sources.synthesis import synthetic_images

        return synthetic_images(self._original, count, seed)

    def close(self) -> None:
        """Remove the SavedModel."""
        self._folder.cleanup()


def open_keras(path: Path, outputs: tuple[str, ...]) -> KerasSource:
    """Load a `.keras` file."""
    return KerasSource(keras.models.load_model(path, compile=False), outputs)

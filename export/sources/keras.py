"""One model on its way into several schemes: what they share is made once."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from hemline.closing import Closing
from hemline.errors import HemlineError
from hemline.export.sources.embedding import with_embedding
from hemline.export.sources.flattening import with_constant_flatten
from hemline.export.sources.folding import fold_rescaling
from hemline.folders import TemporaryFolder


class ModelSource(Closing):
    """A Keras model ready to convert, with its SavedModel made when the first scheme asks.

    The SavedModel lives in a temporary folder until the source is closed.
    """

    def __init__(self, model: keras.Model, *, embedding: bool = False) -> None:
        """Take a model from pixels to logits; `embedding` gives it that as a second output."""
        prepared = with_constant_flatten(fold_rescaling(model))
        self.model = with_embedding(prepared) if embedding else prepared
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
            input_signature=[tf.TensorSpec((None, *self.model.input_shape[1:]), tf.float32)],
        )
        try:
            archive.write_out(path, verbose=False)
        except tf.errors.OpError as error:
            raise HemlineError(
                f"cannot write the model into {path} ({type(error).__name__}): "
                "make room there, or set TMPDIR to a folder that has some"
            ) from error
        return path

    @functools.cached_property
    def onnx(self) -> Any:
        """Return the ONNX ModelProto in float32, which the quantized one is made from too."""
        from hemline.export.writers.onnx import to_onnx

        return to_onnx(self.model)

    def close(self) -> None:
        """Remove the SavedModel."""
        self._folder.cleanup()

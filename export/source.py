"""One model on its way into several schemes: what they share is made once."""

from __future__ import annotations

import functools
import tempfile
from typing import Any

import keras
import tensorflow as tf

from hemline.closing import Closing
from hemline.errors import HemlineError
from hemline.export.embedding import with_embedding
from hemline.export.folding import fold_rescaling


class ModelSource(Closing):
    """A Keras model ready to convert, with its SavedModel made when the first scheme asks.

    The SavedModel lives in a temporary folder until the source is closed.
    """

    def __init__(self, model: keras.Model, *, embedding: bool = False) -> None:
        """Take a model from pixels to logits; `embedding` gives it that as a second output."""
        folded = fold_rescaling(model)
        self.model = with_embedding(folded) if embedding else folded
        self._folder = tempfile.TemporaryDirectory(prefix="hemline-")

    @functools.cached_property
    def saved_model(self) -> str:
        """Return the folder of the SavedModel, whose signature the converters need."""
        path = f"{self._folder.name}/saved_model"
        try:
            self.model.export(path, verbose=False)
        except tf.errors.OpError as error:
            raise HemlineError(
                f"cannot write the model into {path} ({type(error).__name__}): "
                "make room there, or set TMPDIR to a folder that has some"
            ) from error
        return path

    @functools.cached_property
    def onnx(self) -> Any:
        """Return the ONNX ModelProto in float32, which the quantized one is made from too."""
        from hemline.export.onnx_converter import to_onnx

        return to_onnx(self.model)

    def close(self) -> None:
        """Remove the SavedModel."""
        self._folder.cleanup()

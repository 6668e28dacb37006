"""TensorFlow SavedModels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hemline.errors import FileFormatError
from hemline.export.importing.opened import ConversionOptions, OpenedModel, image_shape
from hemline.provenance import versions

# Operators that touch files or run Python. Random ones are found by their outputs: the training
# functions beside the signature hold them for dropout.
_REFUSED = (
    *("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc"),
    *("SaveV2", "PrintV2"),
)
_USUAL = ("serving_default", "serve")
_OF_SAVING = ("RestoreV2", "SaveV2", "MergeV2Checkpoints")  # in the part that restores weights


def open_saved_model(path: Path, options: ConversionOptions) -> OpenedModel:
    """Open a SavedModel by its signature."""
    import tensorflow as tf

    _require_harmless(path)
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        said = " ".join(str(error).split())[:200]
        raise FileFormatError(f"cannot be opened by TensorFlow ({said})") from error
    key = _signature(list(loaded.signatures))
    signature = loaded.signatures[key]
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        names = ", ".join([*inputs, *outputs])
        raise FileFormatError(
            f"has {len(inputs)} inputs and {len(outputs)} outputs ({names}): a classifier has one "
            "of each"
        )
    (name, spec), output = next(iter(inputs.items())), next(iter(outputs))
    if spec.shape.rank is None:
        raise FileFormatError("has an input of unknown rank")
    shape = image_shape(tuple(spec.shape), options.size)

    def call(images: Any) -> Any:
        # `loaded` holds the variables: without a reference they are deleted
        return loaded.signatures[key](**{name: tf.cast(images, spec.dtype)})[output]

    def to_onnx() -> Any:
        from hemline.export.importing.frozen import frozen_onnx

        return frozen_onnx(call, shape)

    return OpenedModel(
        shape=shape,
        run=lambda images: _by_batches(call, images, spec.shape[0]),
        to_onnx=to_onnx,
        versions=versions(("tensorflow",)),
    )


def _by_batches(call: Any, images: Any, batch: int | None) -> Any:
    import numpy as np

    size = batch or len(images)
    parts = [images[at : at + size] for at in range(0, len(images), size)]
    return np.concatenate([call(part).numpy() for part in parts])


def _signature(names: list[str]) -> str:
    if not names:
        raise FileFormatError("has no signature: save it again with one (use model.export)")
    return next((name for name in _USUAL if name in names), names[0])


def _require_harmless(path: Path) -> None:
    """Raise FileFormatError for operators that a classifier does not need, before any runs."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    document = saved_model_pb2.SavedModel()
    try:
        document.ParseFromString((path / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise FileFormatError("has an unreadable saved_model.pb") from error
    for meta in document.meta_graphs:
        for function in meta.graph_def.library.function:
            saving = {node.op for node in function.node_def} & set(_OF_SAVING)
            for node in () if saving else function.node_def:
                if node.op in _REFUSED:
                    raise FileFormatError(f"runs the operator {node.op} ({node.name})")
        for node in meta.graph_def.node:
            if node.op in _REFUSED and node.op not in _OF_SAVING:
                raise FileFormatError(f"runs the operator {node.op} ({node.name})")

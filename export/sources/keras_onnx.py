"""Keras to ONNX with tf2onnx."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from hemline.contract.specs import LOGITS
from hemline.export.sources.logged import logged_in_one_line

INPUT = "image"  # the name of the input
_OPSET = 17  # the first with all operators used here; older runtimes on devices still read it


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """Return a model as float32 ONNX: (batch, h, w, c) pixels in, (batch, classes) logits out.

    A model with an embedding gives that too, (batch, size); the outputs have the names of both.
    """
    # tf2onnx.convert.from_keras does not know Keras 3 (tf2onnx 1.17); from_function does
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=INPUT)]

    def outputs(image: tf.Tensor) -> dict[str, tf.Tensor]:
        found = model(image, training=False)
        named = found if isinstance(found, dict) else {LOGITS: found}
        return {name: tf.identity(value) for name, value in named.items()}

    # tf2onnx calls the outputs by the keys of the dictionary
    with running_tf2onnx():
        proto, _ = tf2onnx.convert.from_function(
            tf.function(outputs, input_signature=signature),
            input_signature=signature,
            opset=_OPSET,
            custom_op_handlers=HANDLERS,
        )
    for value in (proto.graph.input[0], *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    proto.graph.doc_string = ""  # the name of a function, with how many TensorFlow made before
    onnx.checker.check_model(proto)
    return proto


def _erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """Write the complement of the error function as what it is: 1 − erf."""
    error = context.make_node("Erf", node.input)
    one = context.make_const(f"{name}_one", np.float32(1))
    shapes, dtypes = node.output_shapes, node.output_dtypes
    context.remove_node(node.name)
    context.make_node(
        "Sub",
        [one.output[0], error.output[0]],
        name=name,
        outputs=node.output,
        shapes=shapes,
        dtypes=dtypes,
    )


# operators that tf2onnx does not know; Keras' gelu computes it
HANDLERS = {"Erfc": (_erfc, list[Any]())}


@contextlib.contextmanager
def running_tf2onnx() -> Iterator[None]:
    """Keep tf2onnx's tracebacks from the user, and collect garbage early in the block.

    It logs a traceback for an optimization that it leaves out. It copies the graph with all weights
    for each of its passes, in cycles of references: ResNet50 took 8 GB until Python came to look
    for them, and takes 3 so.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.collect()  # of nothing: the next one waits until there is a quarter more than this one left
    gc.set_threshold(before[0], before[1], 1)
    try:
        with logged_in_one_line("tf2onnx"):
            yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()

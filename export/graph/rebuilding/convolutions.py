"""Convolutions in TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from hemline.export.graph.rebuilding.context import Context, held_last, maps
from hemline.export.graph.rebuilding.padding import same_pads, widths
from hemline.export.graph.rebuilding.values import Value, transposed


def convolution(at: Context, x: Value, w: Value, b: Value | None = None) -> Value:
    """Convolve maps, with a kernel for all channels, for each, or for groups of them."""
    tensor = held_last(x)
    groups, channels = at.get("group", 1), tensor.shape[-1]
    strides, dilations = at.get("strides", [1, 1]), at.get("dilations", [1, 1])
    kernel = w.tensor
    tensor, mode = _padded(at, tensor, kernel.shape[2:])
    # TensorFlow and TFLite see groups by the channels that a kernel reads
    if groups == 1 or groups != channels or strides[0] != strides[1]:
        ordered = at.kernel(at.weights_name, transposed(kernel, (2, 3, 1, 0)), 3)
        found = tf.nn.conv2d(tensor, ordered, strides, mode, dilations=dilations)
    else:
        found = _depthwise(at, tensor, kernel, mode)
    return maps(found if b is None else tf.nn.bias_add(found, b.tensor))


def _depthwise(at: Context, tensor: Any, kernel: Any, mode: str) -> Any:
    """Convolve each channel alone; the hook sees (h, w, 1, outputs), as TFLite stores it."""
    channels = tensor.shape[-1]
    ordered = transposed(kernel, (2, 3, 1, 0))
    hooked = at.kernel(at.weights_name, ordered, 3)
    stride = at.get("strides", [1, 1])[0]
    return tf.nn.depthwise_conv2d(
        tensor,
        tf.reshape(hooked, (*ordered.shape[:2], channels, kernel.shape[0] // channels)),
        [1, stride, stride, 1],
        mode,
        dilations=at.get("dilations", [1, 1]),
    )


def _padded(at: Context, tensor: Any, kernel: tuple[int, ...]) -> tuple[Any, str]:
    """Return a tensor with the padding that TensorFlow's own mode does not do, and that mode."""
    pads = tuple(at.get("pads", [0, 0, 0, 0]))
    if not any(pads):
        return tensor, "VALID"
    if pads == same_pads(at, tensor.shape[1:3], kernel):
        return tensor, "SAME"
    return tf.pad(tensor, widths(pads)), "VALID"


def transposed_convolution(at: Context, x: Value, w: Value, b: Value | None = None) -> Value:
    """Convolve maps into larger ones."""
    tensor, kernel = held_last(x), w.tensor
    if at.get("group", 1) != 1 or set(at.get("dilations", [1, 1])) != {1}:
        raise at.node.refusal("only one without groups and dilation is supported")
    strides, pads = at.get("strides", [1, 1]), at.get("pads", [0, 0, 0, 0])
    if at.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise at.node.refusal("its padding must be explicit")
    height, width = (
        max((side - 1) * stride + size, before + made)
        for side, stride, size, before, made in zip(
            tensor.shape[1:3],
            strides,
            kernel.shape[2:],
            pads[:2],
            at.graph.shape(at.node.output)[2:],
            strict=True,
        )
    )
    hooked = at.kernel(at.weights_name, transposed(kernel, (2, 3, 1, 0)), 2)
    found = tf.nn.conv2d_transpose(
        tensor,
        hooked,
        tf.stack([tf.shape(tensor)[0], height, width, kernel.shape[1]]),
        strides,
        "VALID",
    )
    down, across = at.graph.shape(at.node.output)[2:]
    found = found[:, pads[0] : pads[0] + down, pads[1] : pads[1] + across, :]
    return maps(found if b is None else tf.nn.bias_add(found, b.tensor))

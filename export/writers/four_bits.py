"""An int8 TFLite file with two weights in a byte, where a layer's weights have 4 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from hemline.errors import HemlineError
from hemline.model_files.flatbuffer import kind_of, packed, unpacked

_LARGEST = 7  # weight of 4 bits; −8 is left out, so that the grid is symmetric
_WEIGHTS_AT = 1  # of their inputs
# Their kernels unpack weights of 4 bits.
_UNPACKING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def with_packed_weights(content: bytes) -> bytes:
    """Return the file with packed weights; raises HemlineError where no layer has 4 bits."""
    model = unpacked(content)
    graph = model.subgraphs[0]
    weights = {
        int(each.inputs[_WEIGHTS_AT])
        for each in graph.operators
        if kind_of(model, each) in _UNPACKING
    }
    if sum(_pack(model, graph.tensors[at]) for at in sorted(weights)) == 0:
        raise HemlineError("no layer has weights of 4 bits")
    return packed(model)


def _pack(model: Any, tensor: Any) -> bool:
    """Pack the weights of a layer if they have 4 bits; return whether they do."""
    buffer = model.buffers[tensor.buffer]
    if tensor.type != schema.TensorType.INT8 or buffer.data is None or len(buffer.data) == 0:
        return False
    stored: npt.NDArray[np.uint8] = np.asarray(buffer.data, np.uint8)
    if np.abs(stored.view(np.int8).astype(int)).max() > _LARGEST:
        return False
    if sum(each.buffer == tensor.buffer for each in model.subgraphs[0].tensors) > 1:
        return False  # another tensor reads the same bytes
    pairs = np.pad(stored & 0x0F, (0, stored.size % 2)).reshape(-1, 2)
    buffer.data = pairs[:, 0] | pairs[:, 1] << 4
    tensor.type = schema.TensorType.INT4
    return True

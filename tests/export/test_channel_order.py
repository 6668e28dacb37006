"""A graph for red, green and blue out of a model for blue, green and red."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hemline.export.graph.normalization import normalized
from hemline.export.importing.graph_session import GraphSession

RANDOM = np.random.default_rng(3)
CONV = ("Conv", ["x", "kernel"], {"pads": [1, 1, 1, 1]})


def model(
    width: int, *steps: tuple[str, list[str], dict[str, Any]], last: bool = False
) -> onnx.ModelProto:
    """Return steps from x (1, 3, 6, 6), or channels last, and of their `width` values 4 classes."""
    arrays = {
        "kernel": RANDOM.standard_normal((5, 3, 3, 3)) / 100,
        "each": RANDOM.standard_normal((3, 1, 1, 1)),
        "twice": RANDOM.standard_normal((6, 1, 1, 1)),
        "bias": RANDOM.standard_normal(3),
    }
    nodes, name = [], "x"
    for at, (op, inputs, attributes) in enumerate(steps):
        names = [name if each == "x" else each for each in inputs]
        nodes.append(helper.make_node(op, names, [f"v{at}"], **attributes))
        name = f"v{at}"
    nodes.append(helper.make_node("Flatten", [name], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "dense"], ["y"]))
    arrays["dense"] = RANDOM.standard_normal((width, 4)) / 100
    shape = (1, 6, 6, 3) if last else (1, 3, 6, 6)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4))],
        [numpy_helper.from_array(each.astype(np.float32), name) for name, each in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


TRANSPOSED = ("Transpose", ["x"], {"perm": [0, 3, 1, 2]})
EACH = ("Conv", ["x", "each", "bias"], {"group": 3})
TWICE = ("Conv", ["x", "twice"], {"group": 3})


@pytest.mark.parametrize(
    ("proto", "convolutions"),
    [
        (model(180, CONV), 2),  # the mean is a convolution of its own: the first one pads
        (model(80, ("Conv", ["x", "kernel"], {}), ("Relu", ["x"], {})), 1),
        (model(180, EACH, CONV), 2),
        (model(180, TRANSPOSED, CONV, last=True), 2),
        (model(216, TWICE), 2),  # two maps of each channel: a convolution reverses the image
        (model(108, ("Flatten", ["x"], {})), 1),  # no convolution at all: likewise
    ],
)
def test_reversed_images_give_the_outputs_of_the_original(
    proto: onnx.ModelProto, convolutions: int
) -> None:
    scale = {"mean": (100.0, 110.0, 120.0), "std": (50.0, 60.0, 70.0)}
    images = RANDOM.integers(0, 256, (4, 6, 6, 3)).astype(np.float32)
    expected = GraphSession(normalized(proto, **scale)).run(images)
    found = normalized(proto, **scale, bgr=True)
    logits = GraphSession(found).run(images[..., ::-1])
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    assert sum(node.op_type == "Conv" for node in found.graph.node) == convolutions

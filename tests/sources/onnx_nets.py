"""Make the sources of onnx.helper: python onnx_nets.py FOLDER NAME…

They look like what PyTorch exports. Weights are random; batch normalization gets the moments that
it sees, and the last layer is fitted in closed form. For each NAME writes the model and NAME.npy:
its probabilities for the test images.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnxruntime
from linear import fitted
from onnx import TensorProto, helper, numpy_helper
from pictures import RANGES
from sources import SOURCES, Source

_EPSILON = 1e-5


class Net:
    """A graph that grows: each method adds nodes and returns the name of what they give."""

    def __init__(self, images: np.ndarray, opset: int, *, last: bool = False) -> None:
        """Begin with an input for images like these; `last` is channels last."""
        self.images = images
        self.opset = opset
        self.random = np.random.default_rng(7)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.channels = {"image": images.shape[-1 if last else 1]}
        self.shape = images.shape[1:]

    def add(self, kind: str, *inputs: str, channels: int = 0, **attributes: object) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        self.channels[name] = channels or self.channels[inputs[0]]
        return name

    def weight(self, value: np.ndarray) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights[name] = value if value.dtype == np.int64 else value.astype(np.float32)
        return name

    def conv(self, x: str, width: int, kernel: int = 3, *, groups: int = 1, stride: int = 1) -> str:
        shape = (width, self.channels[x] // groups, kernel, kernel)
        values = self.random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        weights = [self.weight(values), self.weight(self.random.normal(0, 0.1, width))]
        pad = kernel // 2
        return self.add("Conv", x, *weights, channels=width, kernel_shape=[kernel] * 2,
                        pads=[pad] * 4, strides=[stride] * 2, group=groups)  # fmt: skip

    def norm(self, x: str) -> str:
        seen = self.values(x)
        axes = tuple(each for each in range(seen.ndim) if each != 1)
        width = self.channels[x]
        scale = self.random.uniform(0.7, 1.3, width)
        moments = [scale, self.random.normal(0, 0.2, width), seen.mean(axes), seen.var(axes)]
        weights = [self.weight(value) for value in moments]
        return self.add("BatchNormalization", x, *weights, epsilon=_EPSILON)

    def block(self, x: str, width: int, kernel: int = 3, **options: int) -> str:
        return self.add("Relu", self.norm(self.conv(x, width, kernel, **options)))

    def flat(self, x: str) -> str:
        return self.add("Flatten", x, axis=1)

    def head(self, x: str, classes: np.ndarray) -> str:
        """Add the last layer, fitted to the classes of the images."""
        weights = fitted(self.values(x), classes).T
        inputs = [x, self.weight(weights), self.weight(np.zeros(len(weights)))]
        return self.add("Gemm", *inputs, transB=1, channels=len(weights))

    def values(self, name: str) -> np.ndarray:
        return run(self.proto(name, batch=len(self.images)), self.images)

    def proto(
        self, output: str, *, batch: object = "batch", listed: bool = False
    ) -> onnx.ModelProto:
        initializers = [numpy_helper.from_array(v, name) for name, v in self.weights.items()]
        inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, (batch, *self.shape))]
        if listed:
            inputs += [helper.make_tensor_value_info(i.name, i.data_type, i.dims)
                       for i in initializers]  # fmt: skip
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, initializers)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=3 if listed else 8,
        )


def run(proto: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return np.asarray(session.run(None, {"image": images})[0])


def cnn(net: Net) -> str:
    x = net.add("MaxPool", net.block("image", 16, 5), kernel_shape=[3, 3], strides=[2, 2],
                pads=[1, 1, 1, 1])  # fmt: skip
    x = net.add("MaxPool", net.block(x, 32), kernel_shape=[2, 2], strides=[2, 2])
    return net.flat(net.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]))


def residual(net: Net) -> str:
    x = net.block("image", 16)
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        y = net.norm(net.conv(net.block(x, width, stride=stride), width))
        short = x if stride == 1 else net.norm(net.conv(x, width, 1, stride=stride))
        x = net.add("Relu", net.add("Add", y, short))
    return net.flat(net.add("GlobalAveragePool", x))


def squeeze(net: Net) -> str:
    x = "image"
    for width in (16, 32, 64):
        x = net.add("HardSwish", net.norm(net.conv(x, width, stride=2)))
        gate = net.add("Relu", net.conv(net.add("GlobalAveragePool", x), width // 4, 1))
        gate = net.add("HardSigmoid", net.conv(gate, width, 1), alpha=1 / 6, beta=0.5)
        x = net.add("Mul", x, gate)
    return net.flat(net.add("GlobalAveragePool", x))


def clip(net: Net) -> str:
    six = [net.weight(np.array(value)) for value in (0.0, 6.0)]
    x = net.add("Clip", net.norm(net.conv("image", 16, stride=2)), *six)
    for width in (32, 64):
        x = net.norm(net.conv(x, net.channels[x], groups=net.channels[x], stride=2))
        x = net.add("Clip", net.norm(net.conv(net.add("Clip", x, *six), width, 1)), *six)
    return net.add("ReduceMean", x, axes=[2, 3], keepdims=0)


def shuffle(net: Net) -> str:
    x = net.block("image", 32, stride=2)
    halves = [f"half_{side}" for side in "ab"]
    parts = [x, net.weight(np.array([16, 16], np.int64))]
    net.nodes.append(helper.make_node("Split", parts, halves, axis=1))
    net.channels |= dict.fromkeys(halves, 16)
    y = net.block(net.norm(net.conv(net.block(halves[1], 16, 1), 16, groups=16)), 16, 1)
    x = net.add("Concat", halves[0], y, axis=1, channels=32)
    x = net.add("Reshape", x, net.weight(np.array([-1, 2, 16, 16, 16], np.int64)))
    x = net.add("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = net.add("Reshape", x, net.weight(np.array([-1, 32, 16, 16], np.int64)), channels=32)
    return net.flat(net.add("GlobalAveragePool", net.block(x, 64, stride=2)))


def opset7(net: Net) -> str:
    x = net.add("MaxPool", net.block("image", 16), kernel_shape=[2, 2], strides=[2, 2])
    x = net.add("LeakyRelu", net.norm(net.conv(x, 32, stride=2)), alpha=0.1)
    return net.flat(net.add("AveragePool", x, kernel_shape=[4, 4], strides=[4, 4]))


def external(net: Net) -> str:
    x = net.block(net.block("image", 24, 5, stride=2), 48, stride=2)
    return net.flat(net.add("GlobalMaxPool", net.block(x, 96)))


def channels_last(net: Net) -> str:
    """Return features as tf2onnx gets them: a transpose in front, the scaling behind it."""
    x = net.add("Transpose", "image", perm=[0, 3, 1, 2], channels=3)
    x = net.add("Mul", x, net.weight(np.array(1 / 255)))
    x = net.block(net.block(x, 16, stride=2), 32, stride=2)
    x = net.add("Transpose", x, perm=[0, 2, 3, 1])
    return net.add("ReduceMean", x, axes=[1, 2], keepdims=0)


GRAPHS: dict[str, Callable[[Net], str]] = {
    "onnx-cnn": cnn,
    "onnx-residual": residual,
    "onnx-squeeze": squeeze,
    "onnx-clip": clip,
    "onnx-shuffle": shuffle,
    "onnx-opset7": opset7,
    "onnx-external": external,
    "onnx-nhwc": channels_last,
}
OPSETS = {"onnx-squeeze": 14, "onnx-opset7": 7, "onnx-external": 21}


def make(source: Source, folder: Path) -> None:
    """Build a source, save it and what it gives for the test images."""
    last = source.name == "onnx-nhwc"
    with np.load(folder / f"images-{source.size}.npz") as images:
        x, test = (RANGES[source.pixels].of(images[key]) for key in ("x_train", "x_test"))
        classes = images["y_train"]
    if not last:
        x, test = (np.ascontiguousarray(each.transpose(0, 3, 1, 2)) for each in (x, test))
    net = Net(x, OPSETS.get(source.name, 13), last=last)
    scores = net.head(GRAPHS[source.name](net), classes)
    # opset 7 had no softmax over the last axis but that over all behind the first
    scores = net.add("Softmax", scores, axis=1)
    proto = net.proto(scores, listed=source.name == "onnx-opset7")
    path = source.file_in(folder)
    if source.name == "onnx-external":
        onnx.save(proto, path, save_as_external_data=True, size_threshold=0,
                  location=f"{path.name}.data")  # fmt: skip
    else:
        onnx.save(proto, path)
    np.save(folder / f"{source.name}.npy", run(onnx.load(path), test))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        make(SOURCES[name], Path(sys.argv[1]))

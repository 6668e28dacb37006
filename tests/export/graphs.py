"""Make float ONNX classifiers as PyTorch writes them, run graphs in each runtime, compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]


class Net:
    """A model on its way: each method adds operators and returns the name of what they make."""

    def __init__(self, shape: tuple[Any, ...] = ("N", 3, 12, 12), *, opset: int = 17) -> None:
        self.shape, self.opset = shape, opset
        self.random = np.random.default_rng(7)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.kind = self.given = TensorProto.FLOAT

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self, *shape: int, scale: float = 1.0) -> str:
        values = self.random.standard_normal(shape) * scale / np.sqrt(np.prod(shape[1:]) or 1)
        return self.constant(values.astype(np.float32))

    def op(
        self, kind: str, *inputs: str, count: int = 1, domain: str = "", **attributes: Any
    ) -> Any:
        at = len(self.nodes)
        outputs = [f"v{at}_{each}" for each in range(count)]
        self.nodes.append(
            helper.make_node(
                kind, inputs, outputs, name=f"{kind}_{at}", domain=domain, **attributes
            )
        )
        return outputs[0] if count == 1 else outputs

    def conv(self, x: str, before: int, after: int, size: int = 3, **attributes: Any) -> str:
        groups = attributes.get("group", 1)
        weights = self.weights(after, before // groups, size, size, scale=2)
        return str(self.op("Conv", x, weights, self.weights(after), **attributes))

    def normalization(self, x: str, channels: int) -> str:
        gamma, beta, mean, variance = (
            self.constant(self.random.uniform(0.5, 1.5, channels).astype(np.float32))
            for _ in range(4)
        )
        return str(self.op("BatchNormalization", x, gamma, beta, mean, variance))

    def head(self, x: str, channels: int, classes: int = 5) -> str:
        flat = self.op("Flatten", self.op("GlobalAveragePool", x))
        weights = self.weights(classes, channels, scale=3)
        return str(self.op("Gemm", flat, weights, self.weights(classes), transB=1))

    def model(self, *outputs: str) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info(each, self.given, None) for each in outputs]
        image = helper.make_tensor_value_info("x", self.kind, self.shape)
        graph = helper.make_graph(self.nodes, "net", [image], values, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.acme", 1)]
        used = {node.domain for node in self.nodes}
        return helper.make_model(
            graph,
            opset_imports=[each for each in opsets if each.domain in {"", *used}],
            ir_version=8,
        )


def run(proto: onnx.ModelProto, images: Array) -> Array:
    """Return the first output of a model in ONNX Runtime, for one image after the other."""
    from onnxruntime import InferenceSession

    session = InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found = [session.run(None, {name: each[np.newaxis]})[0] for each in images]
    return np.concatenate([each.reshape(1, -1) for each in found])


def together(proto: onnx.ModelProto, images: Array) -> Array:
    """Return the first output of a model in ONNX Runtime, for all images at once."""
    from onnxruntime import InferenceSession

    session = InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def rebuilt(proto: onnx.ModelProto, images: Array) -> Array:
    """Return the first output of a graph in TensorFlow, for an open batch."""
    import tensorflow as tf

    from hemline.export.graph.rebuild import Rebuilt

    graph = Rebuilt(proto)
    signature = [tf.TensorSpec((None, *images.shape[1:]), tf.float32)]
    function = tf.function(graph.__call__, autograph=False, input_signature=signature)
    return np.asarray(function(tf.constant(images))[graph.graph.outputs[0]])


def lite(content: bytes, images: Array) -> Array:
    """Return the first output of a TFLite file in LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(taken["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], images)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(given["index"]))


def operators_of(content: bytes) -> list[str]:
    """Return the operators of a TFLite file, without delegates, which hide them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return [each["op_name"] for each in interpreter._get_ops_details()]


def probabilities(logits: Array) -> Array:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def difference(found: Array, expected: Array) -> float:
    """Return the largest difference of logits as a share of the largest logit."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())

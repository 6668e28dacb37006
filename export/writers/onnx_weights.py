"""ONNX models with narrower weights and float activations."""

from __future__ import annotations

import numpy as np
import onnx

from hemline.errors import NotNeededError
from hemline.folders import TemporaryFolder
from hemline.model_files.onnx import contents_of
from hemline.runtime.backends import BACKENDS, load_module

_LEAST_ELEMENTS = 16  # a smaller constant is not worth an operator
_LEAST_SAVED = 0.1  # of the weights
_PRODUCTS = ("MatMul", "Gemm")
_SIMPLIFIED = ("onnx.quant.pre_process", "onnxruntime.quant")


def with_half_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with float16 weights, each cast to float32; runtimes do so once.

    What float16 cannot hold (from 65,520 on) stays float32.
    """
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _LEAST_ELEMENTS:
            continue
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if np.isfinite(halves).all():
            name, stored = tensor.name, f"{tensor.name}_half"
            tensor.CopyFrom(onnx.numpy_helper.from_array(halves, stored))
            casts.append(
                onnx.helper.make_node(
                    "Cast", [stored], [name], name=f"{name}_cast", to=onnx.TensorProto.FLOAT
                )
            )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def with_integer_products(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose matrix products have int8 weights.

    7 bits of them, as in all 8-bit files: sums fit into the 16 bits of processors without VNNI.
    """
    contents = contents_of(proto)
    weights = [contents.weights_of(each) for each in contents.operators if each.kind in _PRODUCTS]
    held = sum(found[0].elements for found in weights if found)
    if held < _LEAST_SAVED * contents.parameters:
        raise NotNeededError(
            f"its matrix products hold {held:,} of {contents.parameters:,} weights, and "
            "convolutions with dynamic ranges are 4 to 8 times slower than in float"
        )
    load_module(BACKENDS["onnxruntime"])
    from onnxruntime.quantization import quantize_dynamic

    model = onnx.ModelProto()
    model.CopyFrom(proto)
    entry = model.metadata_props.add()
    entry.key, entry.value = _SIMPLIFIED  # else it advises to simplify the model, which it is
    with TemporaryFolder() as folder:
        path = f"{folder}/dynamic.onnx"
        quantize_dynamic(model, path, op_types_to_quantize=list(_PRODUCTS), reduce_range=True)
        made = onnx.load(path)
    del made.metadata_props[:]
    return made

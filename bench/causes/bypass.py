"""A model without some of its operators, whose readers read what these read."""

from __future__ import annotations

from hemline.bench.causes.observation import Observed
from hemline.bench.profiling.timing import TimedModel
from hemline.contract.profile import OperatorCost
from hemline.model_files.tflite import read_tflite

_GRIDS = ("QuantizeLinear", "DequantizeLinear")


def without(cell: Observed, cost: OperatorCost) -> TimedModel | None:
    """Return a TFLite model without an operator; None where it changes a shape or a type."""
    from hemline.model_files.flatbuffer import packed, unpacked

    outputs = [each.outputs[:1] for each in read_tflite(cell.model.content).operators]
    tables = unpacked(cell.model.content)
    graph = tables.subgraphs[0]
    operator = graph.operators.pop(outputs.index((cost.name,)))
    source, made = int(operator.inputs[0]), int(operator.outputs[0])
    before, after = graph.tensors[source], graph.tensors[made]
    if before.type != after.type or list(before.shape) != list(after.shape):
        return None
    for each in graph.operators:
        each.inputs = [source if int(tensor) == made else int(tensor) for tensor in each.inputs]
    graph.outputs = [source if int(tensor) == made else int(tensor) for tensor in graph.outputs]
    tables.signatureDefs = []  # they may name the tensor
    return cell.other(packed(tables))


def without_grids(cell: Observed) -> bytes:
    """Return an ONNX model that computes in float, without QuantizeLinear and DequantizeLinear."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load_from_string(cell.model.content)
    graph = model.graph
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for node in [each for each in graph.node if each.op_type in _GRIDS]:
        if node.input[0] in stored:
            given = {name: stored[name] for name in node.input}
            (values,) = ReferenceEvaluator(node).run(None, given)
            graph.initializer.append(onnx.numpy_helper.from_array(values, node.output[0]))
            graph.node.remove(node)
        else:
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    content: bytes = model.SerializeToString()
    return content

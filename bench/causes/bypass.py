"""A model without some of its operators, whose readers read what these read."""

from __future__ import annotations

from collections.abc import Iterable

from hemline.bench.causes.observation import Observed
from hemline.bench.profiling.timing import TimedModel
from hemline.contract.profile import OperatorCost
from hemline.model_files.tflite import read_tflite

_GRIDS = ("QuantizeLinear", "DequantizeLinear")


def without(cell: Observed, costs: Iterable[OperatorCost]) -> tuple[TimedModel, list[str]]:
    """Return a TFLite model without those operators that keep shape and type; and their kinds."""
    from hemline.model_files.flatbuffer import packed, unpacked

    tables, names = unpacked(cell.model.content), {each.name for each in costs}
    graph, kept, kinds = tables.subgraphs[0], [], []
    moved: dict[int, int] = {}
    for operator, known in zip(
        graph.operators, read_tflite(cell.model.content).operators, strict=True
    ):
        operator.inputs = [moved.get(int(tensor), int(tensor)) for tensor in operator.inputs]
        before, after = (graph.tensors[t[0]] for t in (operator.inputs, operator.outputs))
        same = before.type == after.type and list(before.shape) == list(after.shape)
        if same and known.outputs[0] in names:
            moved[int(operator.outputs[0])] = operator.inputs[0]
            kinds.append(known.kind)
        else:
            kept.append(operator)
    graph.operators, tables.signatureDefs = kept, []  # signatures may name a tensor
    graph.outputs = [moved.get(int(tensor), int(tensor)) for tensor in graph.outputs]
    return cell.other(packed(tables)), list(dict.fromkeys(kinds))


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

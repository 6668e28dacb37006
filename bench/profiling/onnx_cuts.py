"""Cut the graph that ONNX Runtime executes into its nodes, each a model of its own.

The graph is the one that the runtime itself rewrote for its processor (fused, quantized kernels,
blocked layouts), so a model of one node runs the very kernel that the whole model runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from hemline.contract.job import Value
from hemline.contract.profile import OperatorCost
from hemline.errors import FileFormatError
from hemline.model_files.onnx import contents_of

_INTEGERS = ("int32", "int64", "bool")  # of shapes and indices, which random values would break
_NOTHING = "an output that computes nothing"
_BLOCKED = "com.microsoft.nchwc"
_LAYOUT = re.compile(r"_nchwc(_token_\d+)?$")  # of the name of a node in a blocked layout


# The first one finds caches and branches that the runtime's own code has left, as no node of a
# whole model does; many would find them better than any node. Three gave sums of 98 to 101 % of the
# whole of six models with 15 to 190 nodes, one up to 119 %.
_COPIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One node alone.

    content: a model with its activations as inputs. What only makes its shapes is part of it.
    repeated: the same in copies, with an output that computes nothing: handing one over to the
        caller is no part of a node.
    copies: number of them.
    cost: of the operator, without a time yet.
    """

    content: bytes
    repeated: bytes
    copies: int
    cost: OperatorCost


def watched(graph: bytes) -> bytes:
    """Return a model with every value as an output, to learn what types and shapes they have.

    Raises FileFormatError for control flow, whose parts cannot be cut.
    """
    model = onnx.load_from_string(graph)
    if any(
        each.type == onnx.AttributeProto.GRAPH for n in model.graph.node for each in n.attribute
    ):
        raise FileFormatError("its control flow cannot be split into operators")
    del model.graph.output[:]
    names = (name for node in model.graph.node for name in node.output if name)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    content: bytes = model.SerializeToString()
    return content


def cut_nodes(graph: bytes, values: Sequence[Value], source: bytes) -> tuple[Cut, ...]:
    """Return each node of an executed graph alone, in order.

    values: all that its nodes compute.
    source: the model as its file has it, whose convolutions have no channels that only pad.
    """
    cutter = _Cutter(onnx.load_from_string(graph), values, onnx.load_from_string(source))
    return tuple(map(cutter.cut, cutter.alone))


class _Cutter:
    def __init__(self, model: Any, values: Sequence[Value], source: Any) -> None:
        self._model, self._nodes = model, list(model.graph.node)
        self._stored = {each.name: each for each in model.graph.initializer}
        inputs = {each.name: _fixed(each) for each in model.graph.input}
        self._infos = inputs | {each.name: _info(each) for each in values}
        self._source_macs = _macs_by_output(source)
        made = {name for node in self._nodes for name in node.output}
        model.graph.value_info.extend(info for n, info in self._infos.items() if n in made)
        self._contents = contents_of(model)
        integers = {each.name for each in values if each.dtype in _INTEGERS}
        integers &= {name for node in self._nodes for name in node.input}
        # what makes nothing but shapes for others stays with its readers
        self._makers = {
            name: at
            for at, node in enumerate(self._nodes)
            if integers.issuperset(filter(None, node.output))
            for name in node.output
        }
        self.alone = sorted({*range(len(self._nodes))} - {*self._makers.values()})

    def cut(self, at: int) -> Cut:
        """Return models of one node and of those that make its shapes."""
        makers = [self._nodes[each] for each in sorted(self._with_makers(at) - {at})]
        output = self._infos[self._nodes[at].output[0]]
        constant = onnx.helper.make_node("Constant", [], [_NOTHING], value_float=0.0)
        nothing = onnx.helper.make_tensor_value_info(_NOTHING, onnx.TensorProto.FLOAT, [])
        copies = [_copy(self._nodes[at], number) for number in range(_COPIES)]
        return Cut(
            content=self._model_of([*makers, self._nodes[at]], output),
            repeated=self._model_of([*makers, *copies, constant], nothing),
            copies=_COPIES,
            cost=self._cost(at),
        )

    def _model_of(self, nodes: list[Any], output: Any) -> bytes:
        made = {name for node in nodes for name in node.output}
        read = dict.fromkeys(name for node in nodes for name in node.input if name)
        graph = onnx.helper.make_graph(
            nodes,
            "one",
            [self._infos[name] for name in read if name in self._infos and name not in made],
            [output],
            [self._stored[name] for name in read if name in self._stored],
        )
        opsets, version = self._model.opset_import, self._model.ir_version
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=version)
        content: bytes = model.SerializeToString()
        return content

    def _with_makers(self, at: int) -> set[int]:
        made = (self._makers[name] for name in self._nodes[at].input if name in self._makers)
        return {at}.union(*map(self._with_makers, made))

    def _cost(self, at: int) -> OperatorCost:
        node, operator = self._nodes[at], self._contents.operators[at]
        blocked = node.domain == _BLOCKED
        padded = blocked and operator.macs > 0
        name = _LAYOUT.sub("", node.name) if blocked else node.name
        return OperatorCost(
            name=name or node.output[0],
            kind=node.op_type,
            ns=None,
            instructions=None,
            macs=self._source_macs.get(name, operator.macs) if padded else operator.macs,
            bytes=self._contents.bytes_of(operator),
            dtype=self._contents.dtype_of(operator),
            runs_on="NCHWc" if blocked else "CPU",
        )


def _copy(node: Any, number: int) -> Any:
    """Return a node that computes the same into outputs of its own."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = f"{node.name} {number}"
    copy.output[:] = [name and f"{name} {number}" for name in node.output]
    return copy


def _info(value: Value) -> Any:
    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return onnx.helper.make_tensor_value_info(value.name, dtype, value.shape)


def _fixed(info: Any) -> Any:
    """Return an input with the sizes that random values have: 1 for what is free."""
    for dimension in info.type.tensor_type.shape.dim:
        if dimension.dim_value < 1:
            dimension.dim_value = 1
    return info


def _macs_by_output(source: Any) -> dict[str, int]:
    """Return the multiply-accumulates of the convolution or product that each value comes from."""
    macs: dict[str, int] = {}
    for node, operator in zip(source.graph.node, contents_of(source).operators, strict=True):
        behind = macs.get(node.input[0], 0) if node.input else 0
        macs |= dict.fromkeys(node.output, operator.macs or behind)
    return macs

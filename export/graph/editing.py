"""An ONNX graph that passes can edit: its nodes as plain objects, its constants as arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from hemline.errors import FileFormatError

OPSET = 17  # the first with all operators used here; the oldest supported onnxruntime reads it
IR_VERSION = 8  # the one of that time
BATCH = "batch"  # name of the open dimension
FUNCTIONS = "hemline"  # domain of the operators that a model defines itself: see functions.py


@dataclass(slots=True, eq=False)
class Node:
    """One operator of a graph; an input that is left out is ""."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""

    @property
    def output(self) -> str:
        """Return the first output."""
        return self.outputs[0]

    def input(self, at: int) -> str:
        """Return an input, "" where it is left out."""
        return self.inputs[at] if at < len(self.inputs) else ""

    def refusal(self, reason: str) -> FileFormatError:
        """Return the error that names this operator and node."""
        return FileFormatError(f"operator {self.op} (node {self.name or self.output}): {reason}")


class Graph:
    """A graph with static shapes, batch 1 (None for a value whose shape is not known)."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        """Read a model of one input; weights that stand in Constant nodes become constants."""
        graph = proto.graph
        self.constants: dict[str, npt.NDArray[Any]] = {
            each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer
        }
        self.nodes: list[Node] = []
        for each in graph.node:
            self._read(each)
        (image,) = (each for each in graph.input if each.name not in self.constants)
        self.image = str(image.name)
        self.outputs = [str(each.name) for each in graph.output]
        self.functions = list(proto.functions)
        self.opset = opset_of(proto)
        self._fresh = itertools.count()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._note_shapes(graph)
        self._made: dict[str, Node] | None = None
        self._read_by: dict[str, list[Node]] | None = None

    def _read(self, proto: onnx.NodeProto) -> None:
        if proto.op_type == "Constant" and not proto.domain:
            self.constants[proto.output[0]] = _constant_of(proto)
            return
        self.nodes.append(
            Node(
                op=proto.op_type,
                inputs=list(proto.input),
                outputs=list(proto.output),
                attributes={each.name: _attribute(each) for each in proto.attribute},
                name=proto.name,
                domain="" if proto.domain == "ai.onnx" else proto.domain,
            )
        )

    def _note_shapes(self, graph: onnx.GraphProto) -> None:
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            dims = [each.dim_value for each in kind.shape.dim]
            if kind.HasField("shape") and all(dims):
                self.shapes[value.name] = tuple(dims)

    # --- reading

    def maker(self, name: str) -> Node | None:
        """Return the node that makes a value; None for the image and constants."""
        if self._made is None:
            self._made = {output: node for node in self.nodes for output in node.outputs}
        return self._made.get(name)

    def consumers(self, name: str) -> list[Node]:
        """Return the nodes that read a value."""
        if self._read_by is None:
            self._read_by = {}
            for node in self.nodes:
                for each in dict.fromkeys(node.inputs):
                    self._read_by.setdefault(each, []).append(node)
        return self._read_by.get(name, [])

    def only_consumer(self, name: str) -> Node | None:
        """Return the one node that reads a value; None where others do, or an output is it."""
        found = self.consumers(name)
        return found[0] if len(found) == 1 and name not in self.outputs else None

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """Return the array of a constant, None for what is computed."""
        return self.constants.get(name)

    def scalar(self, name: str) -> float | None:
        """Return a constant of one element as a number, None for everything else."""
        array = self.constants.get(name)
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value, with batch 1; raises FileFormatError where it is open."""
        if name in self.constants:
            return self.constants[name].shape
        if name not in self.shapes:
            raise FileFormatError(f"the shape of {name} is unknown before the model runs")
        return self.shapes[name]

    def rank(self, name: str) -> int:
        """Return the number of dimensions of a value."""
        return len(self.shape(name))

    # --- changing

    def fresh(self, hint: str) -> str:
        """Return a name that no value has."""
        taken = {*self.constants, *self.shapes}
        return next(
            name for at in self._fresh if (name := f"{hint}.{at}") not in taken and name != ""
        )

    def add_constant(self, hint: str, array: npt.NDArray[Any]) -> str:
        """Add a constant and return its name."""
        name = self.fresh(hint)
        self.constants[name] = array
        return name

    def insert(
        self,
        position: int,
        op: str,
        inputs: list[str],
        *,
        shape: Iterable[int] | None = None,
        name: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Insert a node of one output in front of a position; return the name of the output."""
        output = self.fresh(op.lower())
        node = Node(op, inputs, [output], attributes, name or output, domain)
        self.nodes.insert(position, node)
        if shape is not None:
            self.shapes[output] = tuple(shape)
        self.changed()
        return output

    def insert_before(self, node: Node, op: str, inputs: list[str], **options: Any) -> str:
        """Insert a node in front of another; return the name of its output."""
        return self.insert(self.nodes.index(node), op, inputs, **options)

    def insert_after(self, node: Node, op: str, inputs: list[str], **options: Any) -> str:
        """Insert a node behind another; return the name of its output."""
        return self.insert(self.nodes.index(node) + 1, op, inputs, **options)

    def add_function(self, function: onnx.FunctionProto) -> None:
        """Let the model define an operator, unless it does already."""
        if function.name not in {each.name for each in self.functions}:
            self.functions.append(function)

    def redirect(self, old: str, new: str, *, but: Node | None = None) -> None:
        """Let all nodes and outputs read `new` where they read `old`, but for one node."""
        for node in list(self.consumers(old)):
            if node is not but:
                node.inputs = [new if each == old else each for each in node.inputs]
        self.outputs = [new if each == old else each for each in self.outputs]
        self.changed()

    def rename_value(self, old: str, new: str) -> None:
        """Give a value another name, which no value has."""
        for node in self.nodes:
            node.outputs = [new if each == old else each for each in node.outputs]
            node.inputs = [new if each == old else each for each in node.inputs]
        self.outputs = [new if each == old else each for each in self.outputs]
        self.shapes[new] = self.shapes.pop(old)
        self.changed()

    def bypass(self, node: Node) -> None:
        """Remove a node; what read its output reads its first input."""
        self.redirect(node.output, node.inputs[0])
        self.remove(node)

    def remove(self, *nodes: Node) -> None:
        """Remove nodes."""
        self.nodes = [each for each in self.nodes if each not in nodes]
        self.changed()

    def changed(self) -> None:
        """Forget who reads what; to be called after a change of a node's inputs or outputs."""
        self._made = self._read_by = None

    def drop_unused(self) -> None:
        """Remove nodes and constants that no output depends on."""
        needed = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        self.nodes = kept[::-1]
        self.constants = {name: each for name, each in self.constants.items() if name in needed}
        self.changed()

    def with_op(self, *ops: str) -> Iterator[Node]:
        """Yield the nodes of these operators that are there when their turn comes."""
        for node in list(self.nodes):
            if node.op in ops and node in self.nodes:
                yield node

    # --- writing

    def infer(self) -> None:
        """Find the shapes of all values anew."""
        inferred = onnx.shape_inference.infer_shapes(self.proto(), data_prop=True)
        self._note_shapes(inferred.graph)

    def proto(self, *, open_batch: bool = False) -> onnx.ModelProto:
        """Return the model, with batch 1 or an open one, without inferred shapes."""
        first = [BATCH] if open_batch else list(self.shapes[self.image][:1])
        image = _value(self.image, [*first, *self.shapes[self.image][1:]])
        outputs = [
            _value(name, [*first, *self.shapes[name][1:]] if name in self.shapes else None)
            for name in self.outputs
        ]
        graph = onnx.helper.make_graph(
            [_node(each) for each in self.proto_order()],
            "classifier",
            [image],
            outputs,
            [onnx.numpy_helper.from_array(each, name) for name, each in self.constants.items()],
        )
        opsets = [onnx.helper.make_opsetid("", self.opset)]
        if self.functions:
            opsets.append(onnx.helper.make_opsetid(FUNCTIONS, 1))
        return onnx.helper.make_model(
            graph,
            opset_imports=opsets,
            functions=self.functions,
            ir_version=IR_VERSION if self.opset <= OPSET else onnx.IR_VERSION,
            producer_name="hemline",
        )

    def proto_order(self) -> list[Node]:
        """Return the nodes so that each comes behind what it reads."""
        done = {self.image, "", *self.constants}
        waiting, found = list(self.nodes), list[Node]()
        while waiting:
            ready = [node for node in waiting if done.issuperset(node.inputs)]
            if not ready:
                raise waiting[0].refusal("it has an input that no operator produces")
            later: list[Node] = []
            for node in waiting:
                if done.issuperset(node.inputs):
                    found.append(node)
                    done.update(node.outputs)
                else:
                    later.append(node)
            waiting = later
        return found


def opset_of(proto: onnx.ModelProto) -> int:
    """Return the version of the standard operators that a model is written in."""
    versions = [each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")]
    if not versions:
        raise FileFormatError("the model specifies no ONNX opset")
    return int(max(versions))


def _constant_of(proto: onnx.NodeProto) -> npt.NDArray[Any]:
    value = _attribute(proto.attribute[0])
    if isinstance(value, onnx.TensorProto):
        array: npt.NDArray[Any] = onnx.numpy_helper.to_array(value)
        return array
    kind = np.float32 if proto.attribute[0].name.startswith("value_float") else np.int64
    return np.asarray(value, kind)


def _attribute(proto: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return list(value) if proto.type in _LISTS else value


_LISTS = (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS)


def _node(node: Node) -> onnx.NodeProto:
    return onnx.helper.make_node(
        node.op,
        node.inputs,
        node.outputs,
        name=node.name,
        domain=node.domain,
        **node.attributes,
    )


def _value(name: str, shape: list[int | str] | None) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def with_batch_of_one(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a normalized model for one image, with the shapes of all its values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.value_info[:]
    for value in (*copy.graph.input, *copy.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == BATCH:
                dimension.dim_value = 1
    return onnx.shape_inference.infer_shapes(copy, data_prop=True)

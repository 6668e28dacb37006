"""Cut a TFLite model into its operators, each a model of its own."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hemline.errors import BackendError, FileFormatError

_INTEGERS = ("INT32", "INT64", "BOOL")  # of shapes and indices, which random values would break
_LARGEST = 2**31 - 1  # size that the format can hold
_PADS, _PADDED = ("PAD",), ("CONV_2D", "DEPTHWISE_CONV_2D")
_CONTROL_FLOW = ("IF", "WHILE", "CALL", "CALL_ONCE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One operator alone.

    at: its index among the operators of the whole model.
    content: a model with its activations as inputs. What makes its weights or shapes is part of it.
    inputs, outputs: indices of the tensors of the whole model, in the order of the model's own.
    """

    at: int
    content: bytes
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def cutter_of(content: bytes, delegated: Collection[int] = ()) -> Cutter:
    """Return what cuts the first subgraph of a model, of which a delegate runs some operators.

    Raises BackendError without LiteRT's schema, FileFormatError for tables that cannot be read or
    for control flow.
    """
    try:
        from hemline.model_files.flatbuffer import unpacked
    except ImportError as error:
        raise BackendError("litert is not installed: pip install ai-edge-litert") from error
    try:
        return Cutter(unpacked(content), delegated)
    except FileFormatError:
        raise
    except Exception as error:  # flatbuffers checks nothing: all of Python's errors come out
        raise FileFormatError(f"the model's tables cannot be read: {error!r}") from error


class Cutter:
    """Cuts a model.

    alone: indices of the operators to cut out. One that only makes weights or shapes (the
        DEQUANTIZE of a float16 kernel) is not among them: it stays with its readers. So does the
        PAD of a convolution in a delegate, which fuses them.
    """

    def __init__(self, model: Any, delegated: Collection[int] = ()) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema, self._model, self._graph = schema, model, model.subgraphs[0]
        self._producer = {
            int(made): at for at, each in enumerate(self._graph.operators) for made in each.outputs
        }
        self._name_apart()
        self._activations = {*self._producer, *map(int, self._graph.inputs)}
        self._integers = {getattr(schema.TensorType, name) for name in _INTEGERS}
        if self._of_kinds(_CONTROL_FLOW):
            raise FileFormatError("its control flow cannot be split into operators")
        self._staying = self._find_staying() | self._find_fused(delegated)
        self.alone = [at for at in range(len(self._graph.operators)) if at not in self._staying]

    def cut(self, at: int) -> Cut:
        """Return a model of one operator and of those that make its weights and shapes."""
        chosen = sorted(self._with_makers(at))
        operators = [self._graph.operators[each] for each in chosen]
        made = {int(t) for each in operators for t in each.outputs}
        used = dict.fromkeys(t for each in operators for t in _tensors_of(each))
        inputs = [t for t in used if t in self._activations and t not in made]
        outputs = [int(t) for t in self._graph.operators[at].outputs]
        return Cut(
            at=at,
            content=self._model_of(operators, list(used), inputs, outputs),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
        )

    def resize(self, cut: Cut, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Note the shapes of a cut operator's outputs; return whether they differ from the file's.

        A converter cannot know all shapes: behind a RESHAPE to (-1, 64) it writes (1, 64).
        """
        sizes = [size for shape in shapes for size in shape]
        if len(shapes) != len(cut.outputs) or not all(0 <= size <= _LARGEST for size in sizes):
            raise FileFormatError("an operator alone has other outputs than in the model")
        differ = False
        for output, shape in zip(cut.outputs, shapes, strict=True):
            tensor = self._graph.tensors[output]
            if tuple(() if tensor.shape is None else tensor.shape) != shape:
                tensor.shape, tensor.shapeSignature = np.array(shape, np.int32), None
                differ = True
        return differ

    def content(self) -> bytes:
        """Return the model with the shapes that were noted."""
        from hemline.model_files.flatbuffer import packed

        return packed(self._model)

    def _name_apart(self) -> None:
        """Give tensors distinct names, which the format does not ask for, but those who read do."""
        names: set[bytes] = set()
        for at, tensor in enumerate(self._graph.tensors):
            name = tensor.name or b""
            tensor.name = b"%s#%d" % (name, at) if not name or name in names else name
            names.add(tensor.name)

    def _find_staying(self) -> set[int]:
        """Return the operators that make nothing but weights or shapes for others."""
        read = {t for each in self._graph.operators for t in _known(each.inputs)}
        staying: set[int] = set()
        for at, operator in enumerate(self._graph.operators):
            outputs = _known(operator.outputs)
            constant = all(
                t not in self._activations or self._producer.get(t) in staying
                for t in _known(operator.inputs)
            )
            integers = all(self._graph.tensors[t].type in self._integers for t in outputs)
            if (constant or integers) and all(t in read for t in outputs):
                staying.add(at)
        return staying

    def _find_fused(self, delegated: Collection[int]) -> set[int]:
        """Return the operators that a delegate makes one with their only reader."""
        padded = self._of_kinds(_PADDED).intersection(delegated)
        fused = set()
        for at in self._of_kinds(_PADS).intersection(delegated):
            (made,) = _known(self._graph.operators[at].outputs)
            readers = {n for n, o in enumerate(self._graph.operators) if made in _known(o.inputs)}
            if len(readers) == 1 and readers <= padded:
                fused.add(at)
        return fused

    def _of_kinds(self, kinds: Sequence[str]) -> set[int]:
        """Return the operators of some kinds."""
        numbers = {getattr(self._schema.BuiltinOperator, kind) for kind in kinds}
        codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in self._model.operatorCodes]
        return {at for at, o in enumerate(self._graph.operators) if codes[o.opcodeIndex] in numbers}

    def _with_makers(self, at: int) -> set[int]:
        found, waiting = {at}, [at]
        while waiting:
            for each in _known(self._graph.operators[waiting.pop()].inputs):
                maker = self._producer.get(each)
                if maker in self._staying and maker not in found:
                    found.add(maker)
                    waiting.append(maker)
        return found

    def _model_of(
        self,
        operators: Sequence[Any],
        used: Sequence[int],
        inputs: Sequence[int],
        outputs: Sequence[int],
    ) -> bytes:
        from hemline.model_files.flatbuffer import packed

        numbers = {tensor: at for at, tensor in enumerate(used)}
        graph = copy.copy(self._graph)
        graph.tensors, buffers = [], [self._schema.BufferT()]
        for each in used:
            tensor = copy.copy(self._graph.tensors[each])
            buffers.append(self._model.buffers[tensor.buffer])
            tensor.buffer = len(buffers) - 1
            graph.tensors.append(tensor)
        graph.operators = [_renumbered(each, numbers) for each in operators]
        graph.inputs = np.array([numbers[each] for each in inputs], np.int32)
        graph.outputs = np.array([numbers[each] for each in outputs], np.int32)
        model = self._schema.ModelT()
        model.version, model.operatorCodes = self._model.version, self._model.operatorCodes
        model.subgraphs, model.buffers = [graph], buffers
        return packed(model)


def _known(tensors: Iterable[Any] | None) -> list[int]:
    """Return the tensors that are not left out."""
    return [int(each) for each in (() if tensors is None else tensors) if each >= 0]


def _tensors_of(operator: Any) -> list[int]:
    fields = (operator.inputs, operator.outputs, operator.intermediates)
    return [tensor for field in fields for tensor in _known(field)]


def _renumbered(operator: Any, numbers: dict[int, int]) -> Any:
    copied = copy.copy(operator)
    for name in ("inputs", "outputs", "intermediates"):
        if (tensors := getattr(operator, name)) is not None:
            changed = [numbers.get(int(tensor), -1) for tensor in tensors]
            setattr(copied, name, np.array(changed, np.int32))
    return copied

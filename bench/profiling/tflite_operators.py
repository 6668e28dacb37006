"""Time the operators of a TFLite model: each alone, cut out of the flatbuffer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hemline.bench.profiling.operators import Operators
from hemline.bench.profiling.probe import idle_model
from hemline.bench.profiling.tflite_cuts import Cut, cutter_of
from hemline.bench.profiling.timing import TURN_NS, ModelTimer, TimedModel
from hemline.contract.job import Node
from hemline.contract.profile import OperatorCost
from hemline.model_files.contents import Contents
from hemline.model_files.tflite import read_tflite

_DELEGATE = "DELEGATE"


def measure_operators(timer: ModelTimer, model: TimedModel, in_turn: bool) -> Operators:
    """Time each operator alone, and the whole.

    All invocations of one operator in a round come before those of the next, unless they take turns
    at each invocation (`in_turn`): what one finds in the caches is then what it finds in the whole.
    What it takes to enter a delegate, measured among them, is left out of each that one runs alone:
    in the whole it is paid once. Kernels of the interpreter itself cost the same in both.
    Raises JobError that names the operator which a runtime refuses or which ends its process.
    """
    taken = partitions(timer.open(model).nodes)
    delegated = {at for each in taken for at in each}
    contents, cuts, models = _opened_alone(timer, model, delegated)
    models = [idle_model("tflite", model.settings), *models]
    if in_turn:
        whole, idle, *times = timer.time([model], parts=models, slice_ns=TURN_NS)
    else:
        whole, idle, *times = timer.time([model, *models])
    numbers = {cut.at: number for number, cut in enumerate(cuts)}
    counts = timer.device.capabilities.instructions
    costs = []
    for cut, found in zip(cuts, times, strict=True):
        operator = contents.operators[cut.at]
        cost = found.ns if found.delegate == "builtin" else max(found.ns - idle.ns, 0)
        costs.append(
            OperatorCost(
                name=operator.outputs[0],
                kind=operator.kind,
                ns=None if counts else cost,
                instructions=cost if counts else None,
                macs=operator.macs,
                bytes=contents.bytes_of(operator),
                dtype=contents.dtype_of(operator),
                runs_on="XNNPACK" if cut.at in delegated else "builtin",
            )
        )
    return Operators(
        whole=whole,
        costs=tuple(costs),
        partitions=tuple(tuple(numbers[at] for at in each if at in numbers) for each in taken),
        fusion={},
        alone={cost.name: cut.content for cost, cut in zip(costs, cuts, strict=True)},
        fixed_ns=idle.ns,
    )


def _opened_alone(
    timer: ModelTimer, model: TimedModel, delegated: Collection[int]
) -> tuple[Contents, list[Cut], list[TimedModel]]:
    """Cut and open each operator; return what the model holds, the cuts, and models of them.

    The shapes of an operator's outputs are known when it has run, those of its inputs before.
    """
    contents, cutter = read_tflite(model.content), cutter_of(model.content, delegated)
    cuts, models, resized = [], [], False
    for at in cutter.alone:
        cut, operator = cutter.cut(at), contents.operators[at]
        alone = TimedModel(
            name=f"{operator.kind} {operator.outputs[0]}",
            content=cut.content,
            settings=model.settings,
        )
        resized |= cutter.resize(cut, [each.shape for each in timer.open(alone).values])
        cuts.append(cut)
        models.append(alone)
    return read_tflite(cutter.content()) if resized else contents, cuts, models


def partitions(nodes: Sequence[Node]) -> tuple[tuple[int, ...], ...]:
    """Return the indices of the model's own nodes that each delegate took over.

    An interpreter lists the nodes of delegates behind those of the model: a node that makes an
    output of a delegate from its inputs is computed by it.
    """
    own = [node for node in nodes if node.kind != _DELEGATE]
    producer = {made: at for at, node in enumerate(own) for made in node.outputs}
    found = []
    for delegate in (node for node in nodes if node.kind == _DELEGATE):
        waiting, taken = set(delegate.outputs), set[int]()
        while waiting:
            at = producer.get(waiting.pop())
            if at is not None and at not in taken:
                taken.add(at)
                waiting |= set(own[at].inputs) - set(delegate.inputs)
        found.append(tuple(sorted(taken)))
    return tuple(found)

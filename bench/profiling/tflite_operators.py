"""Time the operators of a TFLite model: each alone, cut out of the flatbuffer."""

from __future__ import annotations

from collections.abc import Sequence

from hemline.bench.profiling.operators import Operators
from hemline.bench.profiling.tflite_cuts import cut_operators
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.contract.job import Node
from hemline.contract.profile import OperatorCost
from hemline.model_files.tflite import read_tflite

_DELEGATE = "DELEGATE"


def measure_operators(timer: ModelTimer, model: TimedModel, fixed_ns: int) -> Operators:
    """Time each operator alone and the whole in turn; `fixed_ns` of each alone is left out.

    Raises JobError that names the operator which a runtime refuses or which ends its process.
    """
    contents, cuts = read_tflite(model.content), cut_operators(model.content)
    names = [contents.operators[cut.at].outputs[0] for cut in cuts]
    models = [
        TimedModel(
            name=f"{model.name}, {contents.operators[cut.at].kind} {name}",
            content=cut.content,
            settings=model.settings,
        )
        for cut, name in zip(cuts, names, strict=True)
    ]
    whole, *times = timer.time([model, *models])
    taken = partitions(whole.nodes)
    numbers = {cut.at: number for number, cut in enumerate(cuts)}
    counts = timer.device.capabilities.instructions
    costs = []
    for cut, name, found in zip(cuts, names, times, strict=True):
        operator, cost = contents.operators[cut.at], max(found.ns - fixed_ns, 0)
        delegated = any(cut.at in each for each in taken)
        costs.append(
            OperatorCost(
                name=name,
                kind=operator.kind,
                ns=None if counts else cost,
                instructions=cost if counts else None,
                macs=operator.macs,
                bytes=contents.bytes_of(operator),
                dtype=contents.dtype_of(operator),
                runs_on="XNNPACK" if delegated else "builtin",
            )
        )
    return Operators(
        whole=whole,
        costs=tuple(costs),
        partitions=tuple(tuple(numbers[at] for at in each if at in numbers) for each in taken),
        fusion={},
        alone={name: cut.content for name, cut in zip(names, cuts, strict=True)},
    )


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

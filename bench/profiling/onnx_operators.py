"""Time the operators of an ONNX model: the nodes of the graph that ONNX Runtime executes."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from hemline.bench.profiling.operators import Operators
from hemline.bench.profiling.probe import idle_model
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.errors import BackendError, HemlineError, JobError

if TYPE_CHECKING:
    from hemline.bench.profiling.onnx_cuts import Cut


def measure_operators(timer: ModelTimer, model: TimedModel, in_turn: bool) -> Operators:
    """Time each node of the graph that ONNX Runtime makes of a model, and the whole, in turn.

    What an invocation costs without any node is measured in the same rounds and left out.
    Raises JobError for a graph that cannot be cut, or naming the node that cannot be run alone,
    BackendError without the onnx package.
    """
    del in_turn  # each node is repeated, as an invocation takes longer than most of them
    cuts = executed_nodes(timer, model)
    plain = replace(model.settings, optimization="none")  # each is as the runtime made it
    repeated = [
        TimedModel(
            name=f"{model.name}, {cut.cost.kind} {cut.cost.name}",
            content=cut.repeated,
            settings=plain,
        )
        for cut in cuts
    ]
    whole, idle, *times = timer.time([model, idle_model("onnx", plain), *repeated])
    each_ns = [
        max(found.ns - idle.ns, 0) // cut.copies for cut, found in zip(cuts, times, strict=True)
    ]
    counts = timer.device.capabilities.instructions
    costs = tuple(
        replace(cut.cost, instructions=cost) if counts else replace(cut.cost, ns=cost)
        for cut, cost in zip(cuts, each_ns, strict=True)
    )
    return Operators(
        whole=whole,
        costs=costs,
        partitions=(),
        fusion=dict(Counter(cut.cost.kind for cut in cuts)),
        alone={cut.cost.name: cut.content for cut in cuts},
        fixed_ns=idle.ns,
    )


def executed_nodes(timer: ModelTimer, model: TimedModel) -> tuple[Cut, ...]:
    """Return the nodes of the graph that ONNX Runtime makes of a model on the device."""
    try:
        from hemline.bench.profiling.onnx_cuts import cut_nodes, watched
    except ImportError as error:
        raise BackendError("onnx is not installed: pip install onnx") from error
    found = timer.open(model).graph
    try:
        graph = base64.b64decode(found, validate=True) if found else model.content
        plain = replace(model.settings, optimization="none")
        probed = TimedModel(name=model.name, content=watched(graph), settings=plain)
        return cut_nodes(graph, timer.open(probed).values, model.content)
    except HemlineError:
        raise
    except Exception as error:  # a device may send anything; onnx and numpy raise all of Python's
        raise JobError(f"{model.name}: its graph cannot be split: {error!r}") from error

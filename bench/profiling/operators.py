"""The times of a model's operators, whatever its format: what one module a format gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hemline.bench.profiling.timing import ModelTimer, ModelTimes, TimedModel
from hemline.contract.profile import OperatorCost

# (timer, the whole model, fixed cost of an invocation in ns) to what its operators cost
Measure = Callable[[ModelTimer, TimedModel, int], "Operators"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """The operators of one model, timed in the same rounds as the whole.

    whole: times of the whole model.
    costs: of each operator, in the order of the model; on an emulated device in instructions.
    partitions: indices of the operators that each delegate took over.
    fusion: kind of node in the optimized graph to their number; empty for TFLite.
    alone: operator's name to a model of it alone; without those that have none.
    """

    whole: ModelTimes
    costs: tuple[OperatorCost, ...]
    partitions: tuple[tuple[int, ...], ...]
    fusion: dict[str, int]
    alone: dict[str, bytes]

    @property
    def add_up(self) -> bool:
        """Return whether the operators' times together are 90 % to 110 % of the whole."""
        return 0.9 <= sum(each.ns or 0 for each in self.costs) / max(self.whole.ns, 1) <= 1.1

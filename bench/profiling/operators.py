"""The times of a model's operators, whatever its format: what one module a format gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hemline.bench.profiling.timing import ModelTimer, ModelTimes, TimedModel
from hemline.contract.profile import OperatorCost

# (timer, the whole model, whether parts take turns at each invocation) to what its operators cost
Measure = Callable[[ModelTimer, TimedModel, bool], "Operators"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """The operators of one model, timed in the same rounds as the whole.

    whole: times of the whole model.
    costs: of each operator, in the order of the model; on an emulated device in instructions.
    partitions: indices of the operators that each delegate took over.
    fusion: kind of node in the optimized graph to their number; empty for TFLite.
    alone: operator's name to a model of it alone; without those that have none.
    fixed_ns: of an invocation without any operator, in the same rounds.
    """

    whole: ModelTimes
    costs: tuple[OperatorCost, ...]
    partitions: tuple[tuple[int, ...], ...]
    fusion: dict[str, int]
    alone: dict[str, bytes]
    fixed_ns: int

    @property
    def apart(self) -> float:
        """Return by what factor all times together differ from the whole, from 1 on."""
        together = self.fixed_ns + sum(each.ns or 0 for each in self.costs)
        share = max(together, 1) / max(self.whole.ns, 1)
        return max(share, 1 / share)

    @property
    def add_up(self) -> bool:
        """Return whether the operators' times together are about as long as the whole."""
        return self.apart <= 1.1

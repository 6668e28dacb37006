"""The times of a model's operators, whatever its format: what one module a format gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hemline.bench.profiling.timing import ModelTimer, ModelTimes, TimedModel
from hemline.contract.profile import OperatorCost, explained_share

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
    def gap(self) -> float:
        """Return how far the operators' times together are from the whole, as a share of it."""
        explained = explained_share(self.whole.ns, self.costs, self.fixed_ns)
        return abs((explained or 0.0) - 1)

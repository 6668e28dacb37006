"""What a cause reads of a cell, what it returns, and what can be changed to prove it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hemline.bench.advising.layers import Layer, layers_of
from hemline.bench.profiling.timing import TimedModel
from hemline.contract.profile import OperatorCost, Profile
from hemline.contract.specs import Format
from hemline.model_files.onnx import read_onnx
from hemline.model_files.tflite import read_tflite

# Operator times account for a cell within 10 %: what explains less of it is lost in that.
MATERIAL = 0.10
_QUANTIZED = ("int8", "uint8", "int16")  # types of arithmetic


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One thing to change.

    name: of what is changed, in a few words.
    after, before: what to time; before is None for the cell itself.
    expected: ratio of the times if the cause did not hold.
    limit: ratio from which on it does not hold; None for one that leaves no MATERIAL share.
    scale: share of the cell's time that `before` stands for.
    threads: of what is timed after the change; None for those of the cell.
    """

    name: str
    after: TimedModel
    before: TimedModel | None = None
    expected: float = 1.0
    limit: float | None = None
    scale: float = 1.0
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one cause may explain.

    share: of the cell's time, 0 … 1.
    sentence: what is the matter, to follow "because".
    remedy: what to do about it, a sentence.
    trial: what would prove it; None where nothing can be changed.
    suspected: whether it is named only when its trial supports it.
    """

    share: float
    sentence: str
    remedy: str
    trial: Trial | None = None
    suspected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that is known of a cell.

    model: the file, and how it is opened.
    format: of the file.
    fallback: what runs it instead of an accelerator; empty where none was asked for.
    features: of the processor, and whether it has them; empty where that is not known.
    loaded: whether other processes keep the machine busy.
    alone: operator's name to a model of it alone; without those that have none.
    """

    profile: Profile
    model: TimedModel
    format: Format
    runtime: str
    threads: int = 1
    fallback: str = ""
    features: dict[str, bool] = field(default_factory=dict)
    loaded: bool = False
    alone: dict[str, bytes] = field(default_factory=dict)

    @property
    def quantized(self) -> list[OperatorCost]:
        """Return the layers that compute with integers."""
        return [e for e in self.profile.operators if e.macs and e.dtype in _QUANTIZED]

    @property
    def undelegated(self) -> list[OperatorCost]:
        """Return the operators that no delegate of a TFLite interpreter took over."""
        if self.format == "onnx":
            return []
        taken = {at for partition in self.profile.partitions for at in partition}
        return [each for at, each in enumerate(self.profile.operators) if at not in taken]

    def share(self, operators: list[OperatorCost]) -> float:
        """Return the share of the whole time that operators take."""
        return min(1.0, sum(each.ns or 0 for each in operators) / (self.profile.whole_ns or 1))

    def title(self, cost: OperatorCost) -> str:
        """Return the kind of an operator and its number in the table of a profile."""
        return f"{cost.kind} #{self.profile.operators.index(cost) + 1}"

    def layer(self, cost: OperatorCost) -> Layer | None:
        """Return an operator with weights, read from a model of it alone; None for any other."""
        content = self.alone.get(cost.name) if cost.macs and cost.runs_on != "NCHWc" else None
        read = read_onnx if self.format == "onnx" else read_tflite
        return next(iter(layers_of(read(content), None)), None) if content else None

    def copy(self, layer: Layer, **changed: Any) -> TimedModel:
        """Return a model of one layer of this shape, with random weights, perhaps changed."""
        shape = replace(layer.shape, **changed)
        return self.other(replace(layer, shape=shape).content(self.format))

    def other(self, content: bytes) -> TimedModel:
        """Return another model, opened likewise."""
        return replace(self.model, content=content)

    def reopened(self, **changed: Any) -> TimedModel:
        """Return the same model with other settings."""
        return replace(self.model, settings=replace(self.model.settings, **changed))


def slowest(operators: list[OperatorCost]) -> OperatorCost:
    """Return the operator that takes the most time."""
    return max(operators, key=lambda each: each.ns or 0)


def kinds(operators: list[OperatorCost]) -> str:
    """Return the kinds of operators, in the order of the model."""
    return ", ".join(dict.fromkeys(each.kind for each in operators))

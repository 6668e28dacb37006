"""Advice to whoever designs a model, by times of its layers as they are and otherwise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hemline.bench.advising.layers import Layer, short_name
from hemline.bench.profiling.operators import Operators
from hemline.bench.profiling.timing import ModelTimer, ModelTimes, TimedModel
from hemline.contract.profile import OperatorCost
from hemline.statistics import paired_ratio

_STEPS = (4, 8, 16, 32, 64)  # neighbouring channel counts are the nearest multiples of these
_NARROWEST, _WIDEST = 0.6, 1.5  # of a count: further away it is another model
_FEW_CHANNELS = 4  # of an image
_LEVEL = 0.99  # many counts are tried
_LEAST = 0.02  # of the time of all layers: less is not worth a new training


# kinds of operators that no layer computes on its way, and what it would
_REPLACED = {
    ("HARD_SWISH", "HardSwish", "GELU", "Gelu", "Erf"): "ReLU in the layer before",
    ("SQUARED_DIFFERENCE", "RSQRT", "LayerNormalization"): "batch normalization, which is folded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Something that makes a model faster, measured on models of its layers alone.

    layers: names of those that change together.
    now, then: what is changed, in a few words.
    before_ns, after_ns: times of these layers together.
    ratio, low, high: of after to before, with its 99 % interval; 0 for operators that are not there
        any more.
    share: of the time of the model, or of all layers of a checkpoint, that it saves.
    sentence: all of it in words.
    """

    layers: tuple[str, ...]
    now: str
    then: str
    before_ns: int
    after_ns: int
    ratio: float
    low: float
    high: float
    share: float
    sentence: str


def advise(
    layers: Sequence[Layer], timer: ModelTimer, whole_ns: int | None = None
) -> tuple[Advice, ...]:
    """Return what makes layers faster in the runtime of a timer, what saves most first.

    Only what saves more than the noise is said; a smaller layer must save more than its share of
    the arithmetic. Raises JobError where the runtime refuses a layer.
    """
    variants = [*_channel_variants(layers), *_first_layer_variants(layers)]
    times = _timed([*layers, *(layer for each in variants for layer in each.after)], timer)
    whole = whole_ns or sum(times[_key(layer)].ns for layer in layers)
    best: dict[tuple[object, ...], tuple[float, Advice]] = {}
    for variant in variants:
        advice = _judged(variant, times, whole)
        gain = math.inf if advice is None else advice.ratio / min(1.0, variant.arithmetic)
        if advice is not None and gain < best.get(variant.about, (math.inf,))[0]:
            best[variant.about] = (gain, advice)
    return tuple(sorted((each for _, each in best.values()), key=lambda each: -each.share))


def advise_operators(operators: Operators) -> tuple[Advice, ...]:
    """Return which operators have no fast kernel, by their measured times in the model."""
    whole, costs = operators.whole.ns, operators.costs
    found = [
        _without([cost for cost in costs if cost.kind in kinds], instead, whole)
        for kinds, instead in _REPLACED.items()
    ]
    if any(cost.runs_on == "XNNPACK" for cost in costs):
        left = [cost for cost in costs if cost.runs_on == "builtin"]
        for kind in sorted({cost.kind for cost in left}):
            those = [cost for cost in left if cost.kind == kind]
            found.append(_without(those, "an operator that XNNPACK computes", whole))
    return tuple(each for each in found if each is not None)


def _without(costs: Sequence[OperatorCost], instead: str, whole_ns: int) -> Advice | None:
    spent = sum(cost.ns or 0 for cost in costs)
    if spent < _LEAST * whole_ns:
        return None
    what = f"{len(costs)} × {'/'.join(dict.fromkeys(cost.kind for cost in costs))}"
    share = spent / whole_ns
    return Advice(
        layers=tuple(short_name(cost.name) for cost in costs),
        now=what,
        then=instead,
        before_ns=spent,
        after_ns=0,
        ratio=0.0,
        low=0.0,
        high=0.0,
        share=share,
        sentence=f"{what}: {100 * share:.0f} % of the time, which {instead} would save",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    """Layers as they are and otherwise.

    about: of those with the same one, the best is advised.
    """

    about: tuple[object, ...]
    before: tuple[Layer, ...]
    after: tuple[Layer, ...]
    now: str
    then: str

    @property
    def arithmetic(self) -> float:
        """Return the multiply-accumulates of after to before."""
        macs = (sum(each.shape.macs for each in part) for part in (self.after, self.before))
        return next(macs) / next(macs)


def _channel_variants(layers: Sequence[Layer]) -> Iterator[_Variant]:
    groups = {group for layer in layers for group in (layer.reads, layer.makes)} - {None}
    for group in sorted(each for each in groups if each is not None):
        members = tuple(each for each in layers if group in (each.reads, each.makes))
        makers = [each for each in members if each.makes == group]
        if not makers:
            continue
        count = makers[0].shape.output[2]
        for other in _neighbours(count):
            yield _Variant(
                about=(group, other < count),
                before=tuple(sorted(members, key=lambda each: each is not makers[0])),
                after=tuple(each.widened(group, other) for each in members),
                now=f"{count} channels",
                then=f"{other}",
            )


def _neighbours(count: int) -> list[int]:
    nearest = {step * (count // step + more) for step in _STEPS for more in (-1, 0, 1)} - {count}
    return sorted(n for n in nearest if _NARROWEST * count <= n <= _WIDEST * count)


def _first_layer_variants(layers: Sequence[Layer]) -> Iterator[_Variant]:
    for layer in layers:
        shape = layer.shape
        if layer.product or layer.reads is not None or shape.channels_in > _FEW_CHANNELS:
            continue
        tried = []
        if shape.arithmetic != "float32":
            plain = replace(shape, arithmetic="float32")
            tried.append((f"{shape.arithmetic} arithmetic", "float32", plain))
        if shape.channels_in < _FEW_CHANNELS:
            padded = replace(shape, channels_in=_FEW_CHANNELS)
            tried.append((f"{shape.channels_in} channels in", f"{_FEW_CHANNELS}", padded))
        if shape.stride == 1:
            tried.append(("stride 1", "stride 2", replace(shape, stride=2)))
        if shape.kernel > 3:
            name = f"a {shape.kernel} × {shape.kernel} kernel"
            tried.append((name, "3 × 3", replace(shape, kernel=3)))
        for now, then, other in tried:
            after = (replace(layer, shape=other),)
            yield _Variant(
                about=(layer.name, now), before=(layer,), after=after, now=now, then=then
            )


def _key(layer: Layer) -> tuple[object, ...]:
    return layer.shape, layer.product


def _timed(layers: Sequence[Layer], timer: ModelTimer) -> dict[tuple[object, ...], ModelTimes]:
    distinct = {_key(layer): layer for layer in layers}
    to = timer.device.backend(timer.runtime).format
    models = [TimedModel(name=each.name, content=each.content(to)) for each in distinct.values()]
    return dict(zip(distinct, timer.time(models), strict=True))


def _judged(
    variant: _Variant, times: dict[tuple[object, ...], ModelTimes], whole_ns: int
) -> Advice | None:
    """Return the advice of a variant; None where it gains nothing beyond the noise."""
    before, after = (
        [
            [round(sum(map(statistics.median, one_round)))]
            for one_round in zip(*(times[_key(each)].rounds_ns for each in part), strict=True)
        ]
        for part in (variant.before, variant.after)
    )
    ratio, low, high = paired_ratio(before, after, _LEVEL)
    before_ns, after_ns = (round(statistics.median(r[0] for r in part)) for part in (before, after))
    share = (before_ns - after_ns) / whole_ns
    if high >= min(1.0, variant.arithmetic) or share < _LEAST:
        return None
    return Advice(
        layers=tuple(each.name for each in variant.before),
        now=variant.now,
        then=variant.then,
        before_ns=before_ns,
        after_ns=after_ns,
        ratio=ratio,
        low=low,
        high=high,
        share=share,
        sentence=_sentence(variant, ratio),
    )


def _sentence(variant: _Variant, ratio: float) -> str:
    first, *others = (each.name for each in variant.before)
    together = f", with {' and '.join(others)}," if others else ""
    work = round(100 * (variant.arithmetic - 1))
    computes = f", although it computes {work} % more" if work > 0 else ""
    computes = f", and computes {-work} % less" if work < 0 else computes
    return (
        f"{first}{together} has {variant.now}: {variant.then} would take "
        f"{100 * (1 - ratio):.0f} % less time{computes}"
    )

"""Advice to whoever designs a model, by times of its layers as they are and otherwise."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from hemline.bench.advising.layers import Layer, short_name
from hemline.bench.profiling.operators import Operators
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.progress import tracked
from hemline.statistics import paired_ratio

_STEPS = (4, 8, 16, 32, 64)  # neighbouring channel counts are the nearest multiples of these
_NARROWEST, _WIDEST = 0.6, 1.5  # of a count: further away it is another model
_FEW_CHANNELS = 4  # of an image
# where a process happens to place a model changes its time by some per cent
_PROCESSES, _ROUNDS = 10, 1
_LEVEL = 0.99  # many counts are tried
_LEAST = 0.02  # of the time of the model: less is not worth a new training
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
    low, high: 99 % interval of after to before; 0 for operators that are not there any more.
    share: of the time of the model, or of all layers of a checkpoint, that it saves.
    sentence: all of it in words.
    """

    layers: tuple[str, ...]
    now: str
    then: str
    before_ns: int
    after_ns: int
    low: float = 0.0
    high: float = 0.0
    share: float
    sentence: str


class _Variant(NamedTuple):
    """Layers as they are and otherwise; of those about the same thing, the best is advised."""

    about: tuple[object, ...]
    before: Sequence[Layer]
    after: Sequence[Layer]
    now: str
    then: str

    @property
    def arithmetic(self) -> float:
        """Return the multiply-accumulates of after to before."""
        macs = (sum(each.shape.macs for each in part) for part in (self.after, self.before))
        return next(macs) / next(macs)


def advise(
    layers: Sequence[Layer], opened: Callable[[], ModelTimer], whole_ns: int | None = None
) -> tuple[Advice, ...]:
    """Return what makes layers faster in the runtime of timers, each with processes of its own.

    Only what saves more than the noise is said; a smaller layer must save more than its share of
    the arithmetic. Raises JobError where the runtime refuses a layer.
    """
    variants = [*_channel_variants(layers), *_first_layer_variants(layers)]
    wanted = {e.key: e for e in (*layers, *(layer for each in variants for layer in each.after))}
    times: dict[tuple[object, ...], list[int]] = {key: [] for key in wanted}
    for _ in tracked(range(_PROCESSES), _PROCESSES, "measuring layers"):
        with opened() as timer:
            to = timer.device.backend(timer.runtime).format
            models = [TimedModel(name=e.name, content=e.content(to)) for e in wanted.values()]
            for key, found in zip(wanted, timer.time(models, rounds=_ROUNDS), strict=True):
                times[key].append(found.ns)
    whole = whole_ns or sum(statistics.median(times[layer.key]) for layer in layers)
    best: dict[tuple[object, ...], tuple[float, Advice]] = {}
    for variant in variants:
        before, after = (
            [round(sum(ns)) for ns in zip(*(times[each.key] for each in part), strict=True)]
            for part in (variant.before, variant.after)
        )
        advice = _judged(variant, before, after, whole)
        gain = sum(after) / sum(before) / min(1.0, variant.arithmetic)
        if advice is not None and (variant.about not in best or gain < best[variant.about][0]):
            best[variant.about] = (gain, advice)
    return tuple(advice for _, advice in best.values())


def advise_operators(operators: Operators) -> Iterator[Advice]:
    """Yield which operators have no fast kernel, by their measured times in the model."""
    costs, found = operators.costs, dict(_REPLACED)
    if any(cost.runs_on == "XNNPACK" for cost in costs):
        left = {cost.kind for cost in costs if cost.runs_on == "builtin"}
        found |= {(kind,): "kernels of XNNPACK" for kind in sorted(left)}
    for kinds, instead in found.items():
        those = [cost for cost in costs if cost.kind in kinds]
        spent = sum(cost.ns or 0 for cost in those)
        share = spent / operators.whole.ns
        if share >= _LEAST:
            what = f"{len(those)} × {'/'.join(dict.fromkeys(cost.kind for cost in those))}"
            yield Advice(
                layers=tuple(short_name(cost.name) for cost in those),
                now=what,
                then=instead,
                before_ns=spent,
                after_ns=0,
                share=share,
                sentence=f"{what}: {100 * share:.0f} % of the time; {instead} could save it",
            )


def _channel_variants(layers: Sequence[Layer]) -> Iterator[_Variant]:
    makers = {layer.makes: layer for layer in reversed(layers) if layer.makes is not None}
    for group, maker in makers.items():
        members = [each for each in layers if group in (each.reads, each.makes)]
        count = maker.shape.output[2]
        nearest = {step * (count // step + more) for step in _STEPS for more in (-1, 0, 1)}
        for other in sorted(nearest - {count}):
            if _NARROWEST * count <= other <= _WIDEST * count:
                after = [each.widened(group, other) for each in members]
                about = (group, other < count)
                yield _Variant(about, members, after, f"{count} channels", f"{other}")


def _first_layer_variants(layers: Sequence[Layer]) -> Iterator[_Variant]:
    for layer in layers:
        shape = layer.shape
        if layer.product or layer.reads is not None or shape.channels_in > _FEW_CHANNELS:
            continue
        for now, then, other in (
            (f"{shape.arithmetic} arithmetic", "float32", replace(shape, arithmetic="float32")),
            (f"{shape.channels_in} channels in", "4", replace(shape, channels_in=_FEW_CHANNELS)),
            (f"stride {shape.stride}", "2", replace(shape, stride=max(2, shape.stride))),
            (f"kernel {shape.kernel}", "3", replace(shape, kernel=min(3, shape.kernel))),
        ):
            if other != shape:
                yield _Variant((layer.name, now), [layer], [replace(layer, shape=other)], now, then)


def _judged(
    variant: _Variant, before: Sequence[int], after: Sequence[int], whole_ns: float
) -> Advice | None:
    """Return the advice of a variant; None where it gains nothing beyond the noise."""
    ratio, low, high = paired_ratio([[ns] for ns in before], [[ns] for ns in after], _LEVEL)
    before_ns, after_ns = (round(statistics.median(part)) for part in (before, after))
    share = (before_ns - after_ns) / whole_ns
    if high >= min(1.0, variant.arithmetic) or share < _LEAST:
        return None
    first, *others = (each.name for each in variant.before)
    together = f", with {' and '.join(others)}," if others else ""
    work = round(100 * (variant.arithmetic - 1))
    computes = f", although it computes {work} % more" if work > 0 else ""
    computes = f", and computes {-work} % less" if work < 0 else computes
    return Advice(
        layers=(first, *others),
        now=variant.now,
        then=variant.then,
        before_ns=before_ns,
        after_ns=after_ns,
        low=low,
        high=high,
        share=share,
        sentence=f"{first}{together} has {variant.now}: {variant.then} would take "
        f"{100 * (1 - ratio):.0f} % less time{computes}",
    )

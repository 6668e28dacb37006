"""Plan `int8-mixed`: 8 bits, but the few layers in float that the accuracy needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hemline.contract.steps import Step
from hemline.errors import NotNeededError
from hemline.export.quantization.mixed.search import Search
from hemline.export.quantization.mixed.timing import NOISE, time_ratio
from hemline.export.quantization.planning import Planning
from hemline.export.quantization.quantized import Quantized
from hemline.silence import silenced

BUDGET_POINTS = 0.3
_SHOWN = 6  # layers in a line


def plan_mixed(planning: Planning) -> Quantized:
    """Return the model with few layers in float, within the budget on validation.

    Raises NotNeededError where all layers in 8 bits meet it.
    """
    budget = planning.options.max_drop_points
    budget = BUDGET_POINTS if budget is None else budget
    search = Search(planning.int8, *planning.validation, budget_points=budget)
    before = search.drop(())
    if before <= budget:
        raise NotNeededError(
            f"with all layers in 8 bits the model loses {before:.2f} points on validation, and "
            f"{budget:g} may be lost"
        )
    planning.say(f"all layers in 8 bits lose {before:.2f} points: trying which need float")
    reasons = {
        layer: f"with this layer in 8 bits the model loses {drop:.2f} points"
        for layer, drop in search.smallest().items()
    }
    reasons |= _faster_first(planning, search, reasons)
    step = _step(reasons, len(planning.int8.plan.weights), before - search.drop(reasons))
    planning.say(f"{step.name}: {step.detail}")
    return _explained(search.with_float(reasons), reasons, step)


def _faster_first(planning: Planning, search: Search, reasons: Mapping[str, str]) -> dict[str, str]:
    """Return the first layer if the TFLite file is faster with it in float, and no less accurate.

    It has one or three channels to read: little to multiply for fast 8-bit kernels.
    """
    from hemline.export.writers import tflite  # loads TensorFlow

    first = planning.int8.plan.weights[0].layer
    with_first = {*reasons, first}
    if first in reasons or search.drop(with_first) > search.drop(reasons):
        return {}
    with silenced():
        files = [
            tflite.convert_int8(planning.source, search.with_float(each))
            for each in (with_first, reasons)
        ]
        ratio = time_ratio(files[0], files[1], "tflite")
    if ratio * NOISE > 1:
        return {}
    return {first: f"the TFLite file takes {ratio:.2f} × the time with this layer in float"}


def _step(reasons: Mapping[str, str], layers: int, gain: float) -> Step:
    names = [each.removesuffix(".weight") for each in reasons]
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return Step(
        name="mixed precision",
        detail=f"{len(names)} of {layers} layers in float: {shown}",
        gain_points=gain,
    )


def _explained(quantized: Quantized, reasons: Mapping[str, str], step: Step) -> Quantized:
    weights = tuple(
        replace(grid, reason=reasons.get(grid.layer, "")) for grid in quantized.plan.weights
    )
    plan = replace(quantized.plan, weights=weights)
    return replace(quantized, plan=plan, steps=(*quantized.steps, step))

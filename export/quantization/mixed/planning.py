"""Plan `int8-mixed`: 8 bits, but the few layers in float that the accuracy needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hemline.contract.specs import Format
from hemline.contract.steps import Step
from hemline.errors import NotNeededError
from hemline.export.quantization.mixed.search import Search
from hemline.export.quantization.mixed.timing import NOISE, time_ratio
from hemline.export.quantization.planning import Planning
from hemline.export.quantization.quantized import Quantized
from hemline.silence import silenced
from hemline.tables import change

BUDGET_POINTS = 0.3
_SHOWN = 6  # layers in a line


def plan_mixed(planning: Planning) -> Quantized:
    """Return the model with few layers in float, within the budget on validation.

    Raises NotNeededError where all layers in 8 bits meet it.
    """
    budget = planning.options.max_drop_points
    budget = BUDGET_POINTS if budget is None else budget
    source = planning.source.float_graph
    search = Search(planning.int8, *planning.validation, budget_points=budget, source=source)
    if search.before <= budget:
        raise NotNeededError(
            f"all layers in 8 bits change validation accuracy by {change(search.before)} points, "
            f"within the budget of {0 - budget:g}"
        )
    planning.say(
        f"8 bits change accuracy by {change(search.before)} points: looking for layers "
        "to keep in float"
    )
    reasons = {
        layer: f"with this layer in 8 bits accuracy changes by {change(drop)} points"
        for layer, drop in search.smallest(planning.say).items()
    }
    reasons |= _faster_first(planning, search, reasons)
    step = _step(reasons, len(planning.int8.plan.weights), search.before - search.drop(reasons))
    planning.say(f"{step.name}: {step.detail}")
    return _explained(search.with_float(reasons), reasons, step)


def _faster_first(planning: Planning, search: Search, reasons: Mapping[str, str]) -> dict[str, str]:
    """Return the first layer where float makes it faster, and the model no less accurate.

    It has one or three channels to read: little to multiply for fast 8-bit kernels. One plan serves
    both formats: the other one must not become slower.
    """
    first = planning.int8.plan.weights[0].layer
    with_first = {*reasons, first}
    if first in reasons or first not in search.ranking:
        return {}
    if search.drop(with_first) > search.drop(reasons):
        return {}
    ratio, other = (
        _time_ratio(planning, search, (with_first, reasons), each) for each in ("tflite", "onnx")
    )
    if ratio * NOISE > 1 or other > NOISE:
        return {}
    return {first: f"the TFLite file takes {ratio:.2f} × the time with this layer in float"}


def _time_ratio(
    planning: Planning, search: Search, sets: tuple[Iterable[str], ...], file_format: Format
) -> float:
    from hemline.export.writers import onnx, tflite  # loads TensorFlow

    convert = tflite.convert_int8 if file_format == "tflite" else onnx.convert_int8
    with silenced():
        first, second = (convert(planning.source, search.with_float(each)) for each in sets)
    return time_ratio(first, second, file_format)


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

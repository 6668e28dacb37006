"""Plans whose weights are trained: int8-qat, and int8-w4 with kernels on a 4-bit grid."""

from __future__ import annotations

from dataclasses import replace

from hemline.contract.steps import Step
from hemline.errors import HemlineError, NotNeededError
from hemline.export.quantization.plan import Bits
from hemline.export.quantization.planning import Planning
from hemline.export.quantization.qat.course import Course
from hemline.export.quantization.quantized import Quantized
from hemline.tables import change

# bits of all weights but those of the first and the last layer, and of these two
_WIDTHS: tuple[tuple[Bits, Bits], ...] = ((4, 4), (4, 7), (5, 7))
_USUAL_DROP_POINTS = 0.5  # that 4-bit weights may cost before some are wider
_USUAL_DISAGREEMENT_POINTS = 5.0  # likewise without labels: hem-50k's 4-bit file has 2.4
_LARGEST_DROP_POINTS = 10.0  # files that differ more from their model fail verification


def plan_qat(planning: Planning) -> Quantized:
    """Train weights and ranges for the grids of plain int8.

    Raises NotNeededError when they do no better than plain int8 on validation.
    """
    course = Course(planning)
    before = course.fidelity(planning.int8)
    found = course.trained(planning.int8, "training")
    after = course.fidelity(found)
    if (left := course.lost_points(after)) >= (lost := course.lost_points(before)):
        raise NotNeededError(
            f"training gains nothing: int8 changes validation accuracy by {change(lost)} points "
            f"without it, by {change(left)} with it"
        )
    gain = before.drop_points - after.drop_points
    return _with_step(found, "quantization-aware training", gain)


def plan_w4(planning: Planning) -> Quantized:
    """Train weights for a 4-bit grid; the first and last layer and then all have a wider one where
    it costs more accuracy than the options allow (else half a point).

    Raises HemlineError when even then the model is lost.
    """
    course = Course(planning)
    usual = _USUAL_DROP_POINTS if planning.images.labelled else _USUAL_DISAGREEMENT_POINTS
    allowed = planning.options.max_drop_points
    found, tried = planning.int8, list[tuple[float, Quantized]]()
    for inner, outer in _WIDTHS:
        start = with_widths(found, inner=inner, outer=outer)
        before = course.fidelity(start).drop_points
        found = course.trained(start, f"widths-{inner}-{outer}")
        after = course.fidelity(found).drop_points
        planning.say(
            f"{_widths_text(inner, outer)}: validation accuracy changes by {change(after)} points"
        )
        tried.append((after, _with_step(found, _widths_text(inner, outer), before - after)))
        if after <= (usual if allowed is None else allowed):
            break
    drop, best = min(tried, key=lambda each: each[0])
    if drop > _LARGEST_DROP_POINTS:
        raise HemlineError(
            f"weights of so few bits change validation accuracy by {change(drop)} points, even "
            "after training"
        )
    return best


def with_widths(quantized: Quantized, *, inner: Bits, outer: Bits) -> Quantized:
    """Return a model with so many bits for weights: `outer` in the first and the last layer.

    Layers in float stay so.
    """
    layers = [node.inputs[1] for node in quantized.float_graph.weighted]
    ends = {layers[0], layers[-1]} if layers else set()
    weights = tuple(
        grid if grid.bits == 32 else replace(grid, bits=outer if grid.layer in ends else inner)
        for grid in quantized.plan.weights
    )
    return replace(quantized, plan=replace(quantized.plan, weights=weights))


def _widths_text(inner: Bits, outer: Bits) -> str:
    if inner == outer:
        return f"{inner}-bit weights"
    return f"{inner}-bit weights, {outer}-bit ones in the first and the last layer"


def _with_step(quantized: Quantized, detail: str, gain: float) -> Quantized:
    step = Step(name="training", detail=detail, gain_points=round(gain, 3))
    return replace(quantized, steps=(*quantized.steps, step))

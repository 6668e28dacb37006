"""Plans whose weights are trained: int8-qat, and int8-w4 with kernels on a 4-bit grid."""

from __future__ import annotations

from dataclasses import replace

from hemline.contract.steps import Step
from hemline.errors import HemlineError, NotNeededError
from hemline.export.quantization.plan import Bits
from hemline.export.quantization.planning import Planning
from hemline.export.quantization.qat.course import Course
from hemline.export.quantization.quantized import Quantized

# bits of all weights but those of the first and the last layer, and of these two
_WIDTHS: tuple[tuple[Bits, Bits], ...] = ((4, 4), (4, 7), (5, 7))
_USUAL_DROP_POINTS = 0.5  # that 4-bit weights may cost before some are wider
_LARGEST_DROP_POINTS = 10.0  # files that differ more from their model fail verification


def plan_qat(planning: Planning) -> Quantized:
    """Train weights and ranges for the grids of plain int8.

    Raises NotNeededError when they do no better than plain int8 on validation.
    """
    course = Course(planning)
    before = course.drop_points(planning.int8)
    found = course.trained(planning.int8, "training")
    after = course.drop_points(found)
    if after >= before:
        raise NotNeededError(
            f"training gains nothing: int8 loses {before:.2f} points on validation without it, "
            f"{after:.2f} with it"
        )
    return _with_step(found, "quantization-aware training", before - after)


def plan_w4(planning: Planning) -> Quantized:
    """Train weights for a 4-bit grid; the first and last layer and then all have a wider one where
    it costs more accuracy than the options allow (else half a point).

    Raises HemlineError when even then the model is lost.
    """
    course = Course(planning)
    allowed = planning.options.max_drop_points
    found, tried = planning.int8, list[tuple[float, Quantized]]()
    for inner, outer in _WIDTHS:
        start = with_widths(found, inner=inner, outer=outer)
        before = course.drop_points(start)
        found = course.trained(start, f"widths-{inner}-{outer}")
        after = course.drop_points(found)
        planning.say(f"{_widths_text(inner, outer)}: {after:.2f} points are lost on validation")
        tried.append((after, _with_step(found, _widths_text(inner, outer), before - after)))
        if after <= (_USUAL_DROP_POINTS if allowed is None else allowed):
            break
    drop, best = min(tried, key=lambda each: each[0])
    if drop > _LARGEST_DROP_POINTS:
        raise HemlineError(
            f"weights of so few bits cost {drop:.1f} points on validation, even trained"
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

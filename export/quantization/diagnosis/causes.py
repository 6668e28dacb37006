"""The causes: every known reason why a model loses accuracy in 8 bits, and what brings it back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hemline.export.quantization.diagnosis.document import CauseReport, LayerReport
from hemline.export.quantization.diagnosis.evidence import Evidence, histogram_distance
from hemline.export.quantization.diagnosis.weights import coarsened, weight_ratios
from hemline.export.quantization.quantized import Quantized

WIDE = 6.0  # times the median of the channels: 255 levels leave 40 for a usual channel
LOOSE = 2.5  # times what the images need: more than one bit is lost
_COARSE = 2.0  # times the scale that weights need: one bit is lost
_FEW_WIDE = 0.25  # of the channels, at most: else they are not the exception
_OUTLYING = 1.5  # times the range of the other images
_FEW_IMAGES = 0.05  # of the calibration images, at most: else they are not outliers
CLIPPED = 0.01  # of the values; min-max on images of the same kind clips one in some thousand
_OTHER_PIXELS = 0.25  # share of pixels that would have to change their level of gray
_ENOUGH = 0.9  # of what the best remedy brings back, for a cheaper one
_ROBUST = ("percentile", "mse")  # calibrators that leave out extremes
_LEAST_SHARE = 0.05  # of the loss that a remedy must bring back for its cause to be reported
_LEAST_IMAGES = 4  # likewise; fewer change sides by chance
_COMPUTED = {"Softmax", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Mul", "Div", "Sub", "Erf",
             "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "ReduceMean"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What may help.

    remedy: its name in the command line's table of remedies.
    text: the same in plain words.
    model: returns the model with it applied; None where that takes more than a simulation.
    """

    remedy: str
    text: str
    model: Callable[[], Quantized] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A cause that was found.

    layer: that it is in; None for one of the whole model.
    text: what is the matter, in plain words.
    repairs: what may help, the cheapest first.
    """

    layer: str | None
    text: str
    repairs: tuple[Repair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A row of the CAUSES table.

    name: of the cause.
    find: yields what it finds in the evidence.
    last: whether it is only looked for where no other cause explains most of the loss.
    """

    name: str
    find: Callable[[Evidence], Iterator[Finding]]
    last: bool = False


_SAME_IMAGES = Repair(
    remedy="calibrate on the same",
    text="calibration on images that are read as those in use",
)


def _other_preprocessing(evidence: Evidence) -> Iterator[Finding]:
    """Find calibration images that were made in another way than those that are classified."""
    if evidence.calibration is not None:
        judged = np.asarray(evidence.judge.images)
        distance = histogram_distance(evidence.calibration.images, judged)
        if distance > _OTHER_PIXELS:
            means = (evidence.calibration.images.mean(), judged.mean())
            yield Finding(
                layer=None,
                text=f"calibration images have other pixels than those that are classified: mean "
                f"{means[0]:.0f} instead of {means[1]:.0f}, {100 * distance:.0f} % of the pixels "
                "at another level of gray",
                repairs=(_SAME_IMAGES,),
            )
            return
    found = [each for each in evidence.reports if not evidence.is_fixed(each)]
    clipped = [each for each in found if each.clipped_share > CLIPPED]
    if len(found) > 2 and len(clipped) > len(found) / 2:
        worst = max(clipped, key=lambda each: each.clipped_share)
        yield Finding(
            layer=None,
            text=f"{len(clipped)} of {len(found)} ranges are too narrow for these images (up to "
            f"{100 * worst.clipped_share:.0f} % of the values of {worst.name} are clipped): the "
            "calibration images were others, or preprocessed in another way",
            repairs=(_SAME_IMAGES,),
        )


def _outlier_images(evidence: Evidence) -> Iterator[Finding]:
    """Find single calibration images that widen the ranges of all."""
    if evidence.calibration is None:
        yield from _many_loose_ranges(evidence)
        return
    count = len(evidence.calibration.images)
    outliers = _outliers(evidence)
    loose = (each for each in evidence.harmful if each.range_ratio > _OUTLYING)
    harmful = [each for each in loose if each.name in outliers]
    images = sorted(set().union(*(outliers[each.name] for each in harmful)))
    if not images or len(images) > _FEW_IMAGES * count:
        return
    worst = max(harmful, key=lambda each: each.range_ratio)
    named = ", ".join(map(str, images[:5])) + (", …" if len(images) > 5 else "")
    yield Finding(
        layer=None,
        text=f"{len(images)} of {count:,} calibration images (number {named}) are outliers: the "
        f"range of {worst.name} is {worst.range_ratio:.1f} × as wide as other images need",
        repairs=(*(_robust(evidence, name) for name in _ROBUST), _without_images(evidence, images)),
    )


def _outliers(evidence: Evidence) -> dict[str, set[int]]:
    """Return the calibration images far beyond nearly all others, by the layer they widen."""
    found = {}
    for report in evidence.reports:
        seen = evidence.calibration_values[report.value]
        reach = np.maximum(np.abs(seen.image_low), np.abs(seen.image_high))
        usual = float(np.quantile(reach, 1 - _FEW_IMAGES, method="lower"))
        outliers = np.flatnonzero(reach > _OUTLYING * usual)
        as_planned = seen.range_ratio < _OUTLYING  # else the range is not from these images
        if outliers.size and as_planned and not evidence.is_fixed(report):
            found[report.name] = set(map(int, outliers))
    return found


def _many_loose_ranges(evidence: Evidence) -> Iterator[Finding]:
    free = [each for each in evidence.reports if not evidence.is_fixed(each)]
    loose = [each for each in free if each.range_ratio > LOOSE]
    if len(loose) > max(2, len(free) / 2):
        worst = max(loose, key=lambda each: each.range_ratio)
        yield Finding(
            layer=None,
            text=f"{len(loose)} of {len(free)} ranges are far too wide, that of {worst.name} "
            f"{worst.range_ratio:.1f} ×: there were outliers among the calibration images",
            repairs=(_needed_ranges(evidence, {each.range for each in loose}),),
        )


def _loose_ranges(evidence: Evidence) -> Iterator[Finding]:
    """Find ranges that are far wider than what is seen, in a few layers only."""
    if any(True for _ in _outlier_images(evidence)):
        return
    for report in evidence.harmful:
        if report.range_ratio > LOOSE and not evidence.is_fixed(report):
            low, high = evidence.needed(report.range)
            planned = evidence.quantized.plan.ranges[report.range]
            yield Finding(
                layer=report.name,
                text=f"its range {planned[0]:.3g} … {planned[1]:.3g} is {report.range_ratio:.1f} × "
                f"as wide as the values that occur, {low:.3g} … {high:.3g}",
                repairs=(_needed_ranges(evidence, {report.range}),),
            )


def _wide_channels(evidence: Evidence) -> Iterator[Finding]:
    """Find few channels that take the range of a value for themselves."""
    found = [(each, wide) for each in evidence.harmful if (wide := _wide(evidence, each))]
    if not found:
        return
    worst, count = max(found, key=lambda pair: pair[0].worst_channels[0].activation_ratio)
    seen, factor = evidence.observed[worst.value], worst.worst_channels[0].activation_ratio
    others = [each.name for each, _ in found if each is not worst]
    also = f" (likewise in {', '.join(others)})" if others else ""
    yield Finding(
        layer=worst.name,
        text=f"{_counted(count, 'channel')} up to {factor:.0f} × as wide as the rest, which "
        f"{_levels(seen.span, factor, seen.ends)}{also}",
        repairs=(_equalization(evidence), _float_here(evidence, *(each for each, _ in found))),
    )


def _wide(evidence: Evidence, report: LayerReport) -> int:
    """Return how many channels are wide, 0 where they are not the exception."""
    live = report.channel_count - report.dead_channels
    wide = int((evidence.observed[report.value].channel_ratios > WIDE).sum())
    return wide if live > 2 and wide <= max(1, live * _FEW_WIDE) else 0


def _dead_channels(evidence: Evidence) -> Iterator[Finding]:
    """Find layers most of whose channels give a constant, here or in what reads them."""
    harmful = {each.weights for each in evidence.harmful} | {each.name for each in evidence.harmful}
    for report in evidence.reports:
        many = report.dead_channels >= 2 and 2 * report.dead_channels > report.channel_count
        if many and harmful & {report.name, *evidence.readers(report)}:
            left = report.channel_count - report.dead_channels
            yield Finding(
                layer=report.name,
                text=f"{report.dead_channels} of {report.channel_count} channels are dead or "
                f"constant: all that the model knows passes through {left}",
                repairs=(_equalization(evidence), _float_here(evidence, report)),
            )


def _large_biases(evidence: Evidence) -> Iterator[Finding]:
    """Find biases that do not fit into int32 at the scale of the weights."""
    bits = {each.layer: each.bits for each in evidence.quantized.plan.weights}
    for report in evidence.harmful:
        if report.weights is None or bits[report.weights] == 32:
            continue
        part = evidence.parts[report.name]
        coarse = coarsened(evidence.annotated, part, 2 ** (bits[report.weights] - 1) - 1)
        if coarse is None or not (coarse > _COARSE).any():
            continue
        yield Finding(
            layer=report.name,
            text=f"a bias is too large for int32 at the scale of the weights, which are rounded "
            f"{coarse.max():.2g} × as coarsely therefore",
            repairs=(_float_here(evidence, report),),
        )


def _uneven_weights(evidence: Evidence) -> Iterator[Finding]:
    """Find layers with one scale for channels of very different weights."""
    scopes = {each.layer: each.scope for each in evidence.quantized.plan.weights}
    for report in evidence.harmful:
        ratios = weight_ratios(evidence.annotated, evidence.parts[report.name])
        if ratios is None or scopes[str(report.weights)] != "tensor" or ratios.max() <= WIDE:
            continue
        yield Finding(
            layer=report.name,
            text=f"its weights have one scale for all channels, and those of one channel are "
            f"{ratios.max():.0f} × as large as the usual ones",
            repairs=(_float_here(evidence, report),),
        )


def _few_bits(evidence: Evidence) -> Iterator[Finding]:
    """Find weights of fewer bits than 7."""
    plan = evidence.quantized.plan
    few = [each for each in plan.weights if each.bits < 7]
    if few:
        weights = tuple(replace(each, bits=8) if each in few else each for each in plan.weights)
        eight_bits = replace(evidence.quantized, plan=replace(plan, weights=weights))
        layers = f"{len(few)} layers" if len(few) > 1 else "one layer"
        yield Finding(
            layer=None,
            text=f"the weights of {layers} have {min(each.bits for each in few)} bits",
            repairs=(Repair(remedy="more bits", text="8 bits", model=lambda: eight_bits),),
        )


def _other_format(evidence: Evidence) -> Iterator[Finding]:
    """Find files of one plan that do not give the same labels."""
    points = evidence.other_format_points
    if points is not None and points > 0.5:
        yield Finding(
            layer=None,
            text=f"the files of both formats give other labels for {points:.1f} % of the images",
            repairs=(Repair(remedy="verify formats", text="the one that is nearer to float"),),
        )


def _unfaithful_operators(evidence: Evidence) -> Iterator[Finding]:
    """Find operators whose result 8 bits hold badly, whatever the range."""
    for report in evidence.harmful:
        if report.weights is None and report.operator in _COMPUTED:
            yield Finding(
                layer=report.name,
                text=f"8 bits hold the result of this {report.operator} badly",
                repairs=(_float_here(evidence, report),),
            )


def _sensitive_layers(evidence: Evidence) -> Iterator[Finding]:
    """Find layers that alone lose most, for whatever reason."""
    for report in evidence.harmful:
        alone = report.alone.points if report.alone else 0.0
        if report.weights is not None and 2 * alone > evidence.loss.points:
            noise = report.weight_sqnr_db
            weights = "" if noise is None else f", with weights at {noise:.0f} dB"
            yield Finding(
                layer=report.name,
                text=f"rounding costs {alone:.1f} points in this layer alone{weights}",
                repairs=(_float_here(evidence, report),),
            )


def _counted(count: int, noun: str) -> str:
    return f"one {noun} is" if count == 1 else f"{count} {noun}s are"


def _levels(span: float, factor: float, ends: tuple[float, float]) -> str:
    levels = max(1, round(255 * span / factor / (ends[1] - ends[0])))
    return f"has {levels} of 256 levels left"


def _needed_ranges(evidence: Evidence, owners: set[str]) -> Repair:
    return Repair(
        remedy="calibrate again",
        text="calibration on images like these",
        model=lambda: evidence.with_needed_ranges(owners),
    )


def _robust(evidence: Evidence, calibrator: str) -> Repair:
    """Return a calibrator that does not follow single values."""
    return Repair(
        remedy=f"calibrator {calibrator}",
        text=f"calibrator {calibrator}",
        model=lambda: evidence.calibrated_by(calibrator),
    )


def _without_images(evidence: Evidence, numbers: list[int]) -> Repair:
    return Repair(
        remedy="leave out images",
        text="leaving these images out",
        model=lambda: evidence.calibrated_without(numbers),
    )


def _equalization(evidence: Evidence) -> Repair:
    return Repair(remedy="equalize", text="equalization", model=evidence.equalized)


def _float_here(evidence: Evidence, *reports: LayerReport) -> Repair:
    return Repair(
        remedy="float layers", text="float here", model=lambda: evidence.in_float(reports)
    )


CAUSES: dict[str, Cause] = {
    row.name: row
    for row in (
        Cause(name="other preprocessing", find=_other_preprocessing),
        Cause(name="outlier images", find=_outlier_images),
        Cause(name="range too wide", find=_loose_ranges),
        Cause(name="wide channels", find=_wide_channels),
        Cause(name="dead channels", find=_dead_channels),
        Cause(name="bias beyond int32", find=_large_biases),
        Cause(name="uneven weights", find=_uneven_weights),
        Cause(name="few bits", find=_few_bits),
        Cause(name="formats disagree", find=_other_format),
        Cause(name="unfaithful operator", find=_unfaithful_operators),
        Cause(name="sensitive layer", find=_sensitive_layers, last=True),
    )
}


def find_causes(evidence: Evidence) -> tuple[CauseReport, ...]:
    """Return the causes of a loss, the one whose remedy brings back most first.

    Before them comes what cannot be simulated. A cause whose remedy brings back less than a
    twentieth of the loss is left out.
    """
    found = list[CauseReport]()
    for cause in CAUSES.values():
        if cause.last and any(_explains(each, evidence) for each in found):
            continue
        reports = (_report(cause, each, evidence) for each in cause.find(evidence))
        found += (each for each in reports if _matters(each, evidence))
    return tuple(sorted(found, key=_order))


def _explains(report: CauseReport, evidence: Evidence) -> bool:
    return report.gain_points is None or 2 * report.gain_points > evidence.loss.points


def _order(report: CauseReport) -> float:
    return -math.inf if report.gain_points is None else -report.gain_points


def _report(cause: Cause, finding: Finding, evidence: Evidence) -> CauseReport:
    """Measure the repairs; choose the cheapest that does nearly as well as the best."""
    gains = [(repair, _gain(repair, evidence)) for repair in finding.repairs]
    best = max((gain for _, gain in gains if gain is not None), default=None)
    repair, gain = next(
        pair
        for pair in gains
        if best is None or (pair[1] is not None and pair[1] >= min(best, _ENOUGH * best))
    )
    return CauseReport(
        cause=cause.name,
        layer=finding.layer,
        finding=finding.text,
        remedy=repair.remedy,
        repair=repair.text,
        gain_points=gain,
    )


def _gain(repair: Repair, evidence: Evidence) -> float | None:
    if repair.model is None:
        return None
    return evidence.loss.points - evidence.judge.loss(repair.model()).points


def _matters(report: CauseReport, evidence: Evidence) -> bool:
    few = 100 * _LEAST_IMAGES / len(evidence.judge.images)
    least = max(_LEAST_SHARE * evidence.loss.points, few)
    return report.gain_points is None or report.gain_points >= least

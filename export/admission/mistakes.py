"""Plausible mistakes in how a model is used, found with labelled images.

A model that was trained on other pixels than it is given classifies worse, and does not complain.
Each usual way to prepare pixels is tried; one that classifies clearly more of the same images is
reported. "Clearly" is McNemar's test (https://doi.org/10.1007/BF02295996) on the images that only
one of the two classifies correctly, so that a correct model is not suspected by chance. The three
ranges that most models use need less evidence than the many other ways: few are tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from hemline.errors import Remedy, remedy
from hemline.export.admission.specs import Gives
from hemline.export.pixel_scale import PixelScale
from hemline.remedies import advice
from hemline.statistics import evenly_spaced, mcnemar

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Outputs = npt.NDArray[np.float32]
Right = npt.NDArray[np.bool_]
Run = Callable[[Pixels, PixelScale], Outputs]
Kind = Literal["channel order", "pixels", "label order", "softmax twice", "kind of output"]

MOST_IMAGES = 500  # a standard error of 2 points, and some 20 passes over them stay affordable
LEAST_IMAGES = 20
_LEAST_GAIN = 0.05  # a smaller one may come from the images: brighter or of other cameras
_Z = 4.0  # standard deviations
_CHANCE = 6e-5  # with some 20 tries, chance gets there once in 1,000 models
_USUAL_CHANCE = 0.01  # half of it in this direction: with three tries, once in 70
_POSSIBLE = 0.05  # weaker evidence: reported, but it proves nothing
_UNIFORM = 1e-3  # rounding of probabilities that came out of two softmaxes

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_IMAGENET_CAFFE = (123.68, 116.779, 103.939)  # less this, undivided
_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
_RARE_RANGES = ((-0.5, 0.5), (-128.0, 127.0))
_GRAY = ((0.1307, 0.3081), (0.2860, 0.3530), (0.5, 0.5))  # MNIST, Fashion-MNIST


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A plausible mistake.

    kind: what is wrong.
    message: one line with the figures.
    remedy: what repairs it (hemline/remedies.py).
    images: number of images that were tried.
    correct: of these, correctly classified as the model is used now.
    repaired: of these, correctly classified with the mistake repaired.
    scale: pixels with which they were; None where pixels are not the mistake.
    order: label of each output, as its position in the list that was given; empty unless it is.
    certain: whether more images are classified correctly than chance explains.
    """

    kind: Kind
    message: str
    remedy: Remedy
    images: int
    correct: int
    repaired: int
    scale: PixelScale | None = None
    order: tuple[int, ...] = ()
    certain: bool = True

    @property
    def line(self) -> str:
        """Return what is wrong and what repairs it."""
        how = "likely" if self.certain else "possible"
        return f"{how} mistake: {self.message}; {advice(self.remedy)}"


def suspected_mistakes(
    run: Run,
    images: Pixels,
    classes: Labels,
    labels: Sequence[str],
    *,
    scale: PixelScale,
    gives: Gives,
) -> tuple[Mistake, ...]:
    """Return the mistakes that labelled images show, the largest gain first.

    run: from uint8 images (n, height, width, channels) and how their pixels go in to float32
        outputs (n, classes), the values as the model returns them: probabilities without logarithm.
    images, classes: the images and their classes, positions in `labels`; at most 500 are tried.
    scale: how pixels go in now.
    gives: what the outputs are taken for.
    """
    if len(images) < LEAST_IMAGES:
        return ()
    chosen = evenly_spaced(len(images), MOST_IMAGES)
    images, classes = np.asarray(images[chosen]), np.asarray(classes)[chosen]
    outputs = run(images, scale)
    found = [
        *_other_pixels(run, images, classes, scale, outputs),
        *_other_order(run, images, classes, labels, scale),
    ]
    found.sort(key=lambda mistake: (not mistake.certain, -mistake.repaired))
    return (*found, *_softmax_mistakes(outputs, classes, gives))


def _other_pixels(
    run: Run, images: Pixels, classes: Labels, scale: PixelScale, outputs: Outputs
) -> Iterator[Mistake]:
    """Yield the way to prepare pixels that classifies clearly more, if there is one."""
    now = _right(outputs, classes)
    if (~now).mean() < _LEAST_GAIN:
        return
    tried = [(each, _right(run(images, each), classes)) for each in _scales(scale, images)]
    most = max((right for _, right in tried), key=lambda right: int(right.sum()))
    # of ways that are as good but for chance, the one that changes least comes first
    equal = [pair for pair in tried if not _is_better(most, pair[1], _POSSIBLE, least=0.01)]
    sure = [pair for pair in equal if _is_better(pair[1], now, _chance(pair[0], scale))]
    usual = (pair for pair in equal if _chance(pair[0], scale) == _USUAL_CHANCE)
    likely = sure or [pair for pair in usual if _is_better(pair[1], now, _POSSIBLE)]
    if not likely:
        return
    best, right = likely[0]
    turned = best.bgr != scale.bgr
    only_order = turned and replace(best, bgr=scale.bgr) == scale
    yield Mistake(
        kind="channel order" if only_order else "pixels",
        message=f"{_gain(now, right)} with {_shown(best, scale, only_order=only_order)}",
        remedy=_scale_remedy(best, scale, only_order=only_order),
        images=len(now),
        correct=int(now.sum()),
        repaired=int(right.sum()),
        scale=best,
        certain=bool(sure),
    )


def _chance(way: PixelScale, scale: PixelScale) -> float:
    """Return how unlikely by chance the gain of another way to prepare pixels must be."""
    only_order = replace(way, bgr=scale.bgr) == scale
    return _USUAL_CHANCE if only_order or way in _ranges(scale) else _CHANCE


def _scales(scale: PixelScale, images: Pixels) -> Iterator[PixelScale]:
    """Yield the usual ways to prepare pixels other than `scale`, those that change least first."""
    colour = images.shape[-1] == 3
    if colour:
        yield replace(scale, bgr=not scale.bgr)
    ranges, rare = (
        [PixelScale.of_range(*ends) for ends in each] for each in (_RANGES, _RARE_RANGES)
    )
    usual = [*ranges, *_normalized(images, colour=colour), *rare]
    for bgr in (scale.bgr, not scale.bgr) if colour else (False,):
        for each in usual:
            if not _is_same(each, scale):
                yield replace(each, bgr=bgr)


def _ranges(scale: PixelScale) -> list[PixelScale]:
    """Return the usual pixel ranges other than that of `scale`, with its order of channels."""
    usual = (replace(PixelScale.of_range(*ends), bgr=scale.bgr) for ends in _RANGES)
    return [each for each in usual if not _is_same(each, scale)]


def _normalized(images: Pixels, *, colour: bool) -> Iterator[PixelScale]:
    """Yield the means and deviations of known data sets, and of the images themselves."""
    if colour:
        for means, stds in (_IMAGENET, _CIFAR):
            yield PixelScale(
                mean=tuple(255 * value for value in means), std=tuple(255 * s for s in stds)
            )
        yield PixelScale(mean=_IMAGENET_CAFFE, std=1.0)
        yield PixelScale(mean=_IMAGENET_CAFFE[::-1], std=1.0)
    else:
        for mean, std in _GRAY:
            yield PixelScale(mean=255 * mean, std=255 * std)
    own = float(images.mean()), float(images.std())
    if own[1] > 1:
        yield PixelScale(mean=round(own[0], 1), std=round(own[1], 1))
        yield PixelScale(mean=round(own[0], 1), std=255.0)
        yield PixelScale(mean=round(own[0], 1), std=1.0)


def _is_same(one: PixelScale, other: PixelScale) -> bool:
    both = zip((one.mean, one.std), (other.mean, other.std), strict=True)
    return all(np.allclose(a, b, rtol=0.01, atol=0.5) for a, b in both)


def _other_order(
    run: Run, images: Pixels, classes: Labels, labels: Sequence[str], scale: PixelScale
) -> Iterator[Mistake]:
    """Yield orders of labels that explain the outputs better, with this or a usual pixel range.

    Each is found with one half of the images and judged on the other, in turn.
    """
    now = None
    half = np.random.default_rng(0).permutation(len(classes)) % 2 == 0
    for way in (scale, *_ranges(scale)):
        found = run(images, way).argmax(axis=1)
        then = np.zeros(len(classes), np.bool_)
        for part in (half, ~half):
            order = _best_order(found[part], classes[part], len(labels))
            then[~part] = order[found[~part]] == classes[~part]
        now = found == classes if now is None else now
        order = _best_order(found, classes, len(labels))
        sure = _is_better(then, now, _CHANCE)
        likely = sure or (way == scale and _is_better(then, now, _POSSIBLE))
        if not likely or (order == np.arange(len(order))).all():
            continue
        names, (low, high) = ",".join(labels[at] for at in order), way.range
        whole, pixels = order[found] == classes, f"{low:g}..{high:g}"
        turned = "" if way == scale else f"pixel range {low:.4g} … {high:.4g} and "
        yield Mistake(
            kind="label order",
            message=f"{_gain(now, whole)} with {turned}the labels in a different order",
            remedy=remedy("range and labels", pixels=pixels, labels=names)
            if turned
            else remedy("label order", labels=names),
            images=len(classes),
            correct=int(now.sum()),
            repaired=int(whole.sum()),
            order=tuple(map(int, order)),
            certain=sure,
        )


def _best_order(found: Labels, classes: Labels, count: int) -> Labels:
    """Return for each output the class that it stands for, so that most images are correct.

    Outputs and classes that were not seen together keep their places where these are free.
    """
    seen = np.zeros((count, count))
    np.add.at(seen, (found, classes), 1)
    _, order = linear_sum_assignment(seen + np.eye(count) / (count + 1), maximize=True)
    return np.asarray(order, np.int64)


def _softmax_mistakes(outputs: Outputs, classes: Labels, gives: Gives) -> Iterator[Mistake]:
    """Yield a softmax that is applied twice: in the model, or once more to its probabilities."""
    if outputs.min() < 0 or np.abs(outputs.sum(axis=1) - 1).max() > 0.1:
        return
    right = int(_right(outputs, classes).sum())
    if gives == "logits":
        yield Mistake(
            kind="kind of output",
            message="the specified logits are probabilities: values from 0 to 1 that sum to 1 for "
            "each image; their softmax would be nearly uniform",
            remedy=remedy("are probabilities"),
            images=len(classes),
            correct=right,
            repaired=right,
        )
    elif _is_softmax_of_probabilities(outputs, classes):
        yield Mistake(
            kind="softmax twice",
            message=f"no probability is above {outputs.max():.3f}, although {right} of "
            f"{len(classes)} labels are correct: the model applies softmax to "
            "probabilities",
            remedy=remedy("softmax twice"),
            images=len(classes),
            correct=right,
            repaired=right,
        )


def _is_softmax_of_probabilities(outputs: Outputs, classes: Labels) -> bool:
    """Tell whether probabilities are the softmax of other ones, which fit the classes far better.

    ln p is the inner probability but for a constant, which their sum of 1 fixes.
    """
    logs = np.log(np.maximum(outputs, 1e-9))
    inner = logs - logs.mean(axis=1, keepdims=True) + 1 / outputs.shape[1]
    if inner.min() < -0.02 or inner.max() > 1.02:
        return False
    rows = np.arange(len(classes))
    gains = np.log(np.maximum(inner[rows, classes], _UNIFORM)) - logs[rows, classes]
    error = float(gains.std()) / math.sqrt(len(gains))
    return float(gains.mean()) > max(0.1, _Z * error)


def _right(outputs: Outputs, classes: Labels) -> Right:
    """Return which images are classified correctly; none where outputs are not finite."""
    finite = np.isfinite(outputs).all(axis=1)
    return np.asarray((outputs.argmax(axis=1) == classes) & finite, np.bool_)


def _is_better(right: Right, now: Right, chance: float, least: float = _LEAST_GAIN) -> bool:
    """Tell whether one way classifies more of the same images, by more than chance explains."""
    won, lost = int((right & ~now).sum()), int((now & ~right).sum())
    return won - lost >= max(least * len(now), 1) and mcnemar(lost, won) <= chance


def _gain(now: Right, right: Right) -> str:
    return (
        f"accuracy {100 * right.mean():.1f} % instead of {100 * now.mean():.1f} % on {len(now)} "
        "images"
    )


def _shown(best: PixelScale, scale: PixelScale, *, only_order: bool) -> str:
    order = "blue, green and red" if best.bgr else "red, green and blue"
    if only_order:
        return f"channels in the order {order}"
    low, high = best.range
    turned = f" and channels in the order {order}" if best.bgr != scale.bgr else ""
    return f"pixel range {low:.4g} … {high:.4g}{turned}"


def _scale_remedy(best: PixelScale, scale: PixelScale, *, only_order: bool) -> Remedy:
    order = "bgr" if best.bgr else "rgb"
    if only_order:
        return remedy("channel order", order=order)
    if best in _ranges(scale):
        low, high = best.range
        return remedy("this pixel range", pixels=f"{low:g}..{high:g}")
    means, stds = (",".join(f"{x:.6g}" for x in each) for each in (best.means, best.stds))
    return remedy("mean and std", mean=means, std=stds, order=order)

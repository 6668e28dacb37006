"""What a grid does to the weights of a layer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hemline.export.quantization.annotation import AnnotatedGraph, Kernel
from hemline.export.quantization.diagnosis.measures import decibels, relative
from hemline.export.quantization.diagnosis.parts import Part

Array = npt.NDArray[np.float64]


def weights_of(annotated: AnnotatedGraph, part: Part) -> Array | None:
    """Return the float weights of a layer; None for an operator without."""
    if part.weights is None:
        return None
    return annotated.graph.constants[part.weights].astype(np.float64)


def largest_weights(annotated: AnnotatedGraph, part: Part) -> Array | None:
    """Return the largest |weight| of each output channel."""
    weights = weights_of(annotated, part)
    if weights is None:
        return None
    inputs_first = part.node.op != "Conv" and not part.node.attributes.get("transB")
    axis = weights.ndim - 1 if inputs_first else 0
    others = tuple(each for each in range(weights.ndim) if each != axis)
    return np.asarray(np.abs(weights).max(axis=others))


def weight_ratios(annotated: AnnotatedGraph, part: Part) -> Array | None:
    """Return the largest |weight| of each output channel relative to their median."""
    largest = largest_weights(annotated, part)
    return None if largest is None else relative(largest)


def weight_sqnr(annotated: AnnotatedGraph, part: Part) -> float | None:
    """Return the signal-to-quantization-noise ratio of the weights in decibels."""
    kernel, weights = annotated.kernels.get(part.weights or ""), weights_of(annotated, part)
    if kernel is None or weights is None:
        return None
    noise = kernel.integers * _spread(kernel, weights.ndim) - weights
    return decibels(float(np.square(weights).sum()), float(np.square(noise).sum()))


def coarsened(annotated: AnnotatedGraph, part: Part, largest: int) -> Array | None:
    """Return how much coarser than the weights need the scale of each channel, or all, is.

    largest: integer that the largest weight would have. A bias beyond int32 makes scales coarser.
    """
    kernel, weights = annotated.kernels.get(part.weights or ""), weights_of(annotated, part)
    if kernel is None or weights is None:
        return None
    sizes = np.abs(weights)
    needed = sizes.max() if kernel.axis is None else sizes.reshape(len(sizes), -1).max(axis=1)
    live = np.atleast_1d(needed) > 0
    scale = np.atleast_1d(kernel.scale).astype(np.float64)
    return np.asarray(scale[live] * largest / np.atleast_1d(needed)[live])


def _spread(kernel: Kernel, rank: int) -> Array:
    scale = kernel.scale.astype(np.float64)
    return scale if kernel.axis is None else scale.reshape(-1, *(1,) * (rank - 1))

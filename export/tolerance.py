"""How far an artifact's logits may lie from the Keras model's, and why.

Every bound is a share of the largest |logit| R of the Keras model on the split, because rounding
errors scale with the values. L is the number of layers with weights.

fp32   A sum of K products in float32 is off by about √K · 2⁻²⁴ of the sum of magnitudes (Higham,
       Accuracy and Stability of Numerical Algorithms, §2.8: rounding errors grow like √K). With
       K ≤ 600 and L ≤ 20 that is 20 · √600 · 2⁻²⁴ = 3e-5 of R; times 4 for cancellation in the
       last layer: 1.2e-4.
fp16   Weights are rounded to 11 significant bits: each by at most 2⁻¹¹. A layer whose weights are
       off by that share is off by at most the same share of the sum of magnitudes; over L layers
       L · 2⁻¹¹.
8 bit  Per tensor, uniform rounding to 255 steps of a range of about 8 standard deviations has a
       relative error of 8 ÷ (255 · √12) = 0.9 % rms. Weights and activations of L layers add up
       like random numbers: 0.9 % · √(2L) of the logits' rms; the largest of 10⁵ normal values
       is 4.4 of them, and images whose activations leave the calibrated range are clipped on top.
       For L = 8 the random part alone is 16 % of R; twice that bounds the largest difference.
       This cannot prove a file right, but a corrupt one is off by R itself, and agreement bounds
       the rest.

Where a barely trained net's logits are small, R says little of the values that cancelled in them:
the 8-bit bound is never below 0.25. Such an error moves a probability by 0.125 at most (as below).

An embedding is held to the same share, of its own largest value: it lies one layer before the
logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_EIGHT_BIT_RMS = 8 / (255 * math.sqrt(12))
_LARGEST_OF_MANY = 4.4
_LEAST = 0.25  # see above


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What makes an artifact right.

    share: largest difference of a logit, as a share of the largest |logit|.
    agreement: least share of test images with the same label as the Keras model, 0 … 1.
    least: what a difference may be in any case, where all logits are small.
    """

    share: float
    agreement: float
    least: float = 0.0

    def bound(self, largest_logit: float) -> float:
        """Return the largest difference of a logit that is right, by the largest |logit|."""
        return max(self.share * largest_logit, self.least)


def tolerance_of(scheme: str, weighted_layers: int) -> Tolerance:
    """Return the bounds for a scheme name and the number of layers with weights."""
    layers = max(1, weighted_layers)
    if scheme == "fp32":
        return Tolerance(share=1.2e-4, agreement=0.999)
    if scheme == "fp16":
        return Tolerance(share=layers * 2**-11, agreement=0.995)
    # Labels change where two logits lie within the error; a well-trained model decides nearly all
    # images by more. Under 90 % the file answers another question than the model.
    eight_bit = 2 * _LARGEST_OF_MANY * _EIGHT_BIT_RMS * math.sqrt(2 * layers)
    return Tolerance(share=min(eight_bit, 0.5), agreement=0.90, least=_LEAST)


def share_between_runtimes(weighted_layers: int, *, eight_bit: bool) -> float:
    """Return how far two runtimes may lie apart with one file, as a share of the largest |answer|.

    float   Each may be off by fp32's share: twice that.
    8 bit   The weights are the same; a kernel may round each activation to the other of two
            neighbouring steps. At worst that is one rounding of its own in each runtime: the rms
            above for 2L roundings, 4.4 of them at the largest.

    Where a model gives probabilities the largest value counts as 1. An error e of the logits moves
    a probability by e ÷ 2 at most (the slope of a softmax is ¼ at most for each of two logits), so
    the share admits logits twice as far apart where the answer is open: less than for logits
    themselves as soon as these are larger than 2.
    """
    layers = max(1, weighted_layers)
    if not eight_bit:
        return 2 * tolerance_of("fp32", layers).share
    return min(_LARGEST_OF_MANY * _EIGHT_BIT_RMS * math.sqrt(2 * layers), 0.5)

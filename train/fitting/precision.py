"""Which precision a training computes in: the faster one, as it is measured before it begins.

That a processor has bfloat16 says little: whether it pays depends on the channels of a net.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hemline.contract.card import Card
from hemline.train.fitting.phases import phases
from hemline.train.fitting.pipeline import steps_per_epoch
from hemline.train.nets.normalization import training_copy
from hemline.train.recipes.recipe import Recipe

FLOAT32, BFLOAT16 = "float32", "mixed_bfloat16"
_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # in /proc/cpuinfo: x86 twice, ARM
_GAIN = 1.1  # that bfloat16 must bring: it rounds more, and measurements differ a little
_WORTH_SECONDS = 60.0  # of training: measuring takes some ten
_ROUNDS = 5
_ROUND_SECONDS = 0.4
_WARM_STEPS = 2  # the first one is traced

Timer = Callable[[int], float]  # seconds that so many steps take


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is trained: a model by a recipe on so many images."""

    model: keras.Model
    recipe: Recipe
    images: int

    @property
    def steps(self) -> int:
        """Return the steps of the whole training."""
        return self.recipe.epochs * steps_per_epoch(self.images, self.recipe)


def resolve_precision(workload: Workload) -> str:
    """Return float32 or mixed_bfloat16: what the recipe says, or for "auto" what is faster here.

    Nothing is measured where no device has bfloat16.
    """
    precision = workload.recipe.precision
    if precision != "auto":
        return precision
    if not has_bfloat16():
        return FLOAT32
    return faster_precision(lambda policy: _timer(workload, policy), steps=workload.steps)


def teacher_precision(cards: Sequence[Card]) -> str:
    """Return what teachers compute in: bfloat16 if all were trained in it and it is fast here."""
    own = {card.trained.precision for card in cards}
    return BFLOAT16 if own == {BFLOAT16} and has_bfloat16() else FLOAT32


def has_bfloat16() -> bool:
    """Return whether this machine may compute in bfloat16: its processor can, or it has a GPU."""
    if tf.config.list_physical_devices("GPU"):
        return True
    try:
        return bool(_FLAGS & set(Path("/proc/cpuinfo").read_text(errors="replace").split()))
    except OSError:
        return False


def faster_precision(timer_of: Callable[[str], Timer], *, steps: int) -> str:
    """Return the precision in which steps take less time, float32 unless bfloat16 clearly gains.

    `timer_of` makes a timer for a precision. A training so short that it would not win back what
    measuring takes is float32.
    """
    plain = timer_of(FLOAT32)
    plain(_WARM_STEPS)
    step_seconds = plain(1)
    if step_seconds * steps < _WORTH_SECONDS:
        return FLOAT32
    count = max(1, round(_ROUND_SECONDS / step_seconds))
    other = timer_of(BFLOAT16)
    other(_WARM_STEPS)
    ratios = [plain(count) / other(count) for _ in range(_ROUNDS)]
    return BFLOAT16 if statistics.median(ratios) >= _GAIN else FLOAT32


def _timer(workload: Workload, policy: str) -> Timer:
    recipe, batch = workload.recipe, min(workload.recipe.batch, workload.images)
    model = training_copy(workload.model, policy)
    shape, classes = model.input_shape[1:], model.output_shape[-1]
    phases(recipe)[-1].prepare(model, recipe, 1)
    random = np.random.default_rng(1)
    images = tf.constant(random.integers(0, 256, (batch, *shape)), tf.float32)
    targets = tf.one_hot(random.integers(0, classes, batch), classes)

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            model.train_on_batch(images, targets)
        return time.perf_counter() - started

    return seconds

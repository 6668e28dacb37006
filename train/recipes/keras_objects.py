"""Keras objects of a recipe: its optimizer and its learning-rate schedule."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from hemline.train.recipes.optimizers import OPTIMIZERS
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.schedules import SCHEDULES

# Quintic Newton-Schulz coefficients of Jordan et al., Muon (2024): they pull singular values of
# 0 … 1 into about 0.7 … 1.2 in few steps, which is as good as 1 for a direction.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 4  # measured: a fifth changes nothing in accuracy
_UNDECAYED = ["bias", "gamma", "beta"]  # biases and normalization
_TINY = 1e-7  # keeps a zero gradient from dividing by zero


@keras.saving.register_keras_serializable("hemline")
class SphereMuon(keras.optimizers.Optimizer):  # type: ignore[misc] # keras has no types
    """Orthogonalized momentum for convolution kernels on a sphere, Nesterov SGD for the rest.

    A kernel (height, width, in > 1, out) is taken as a matrix (height · width · in, out). Its
    Nesterov momentum is orthogonalized (Jordan et al., Muon, 2024), scaled to the kernel's norm and
    applied with the learning rate, which thus is a step's relative length; then the kernel is put
    back on the sphere of radius √(2 · out), the norm that He initialization gives it. Batch
    normalization makes that norm irrelevant to the output, so it takes the place of weight decay.
    """

    def __init__(
        self,
        learning_rate: Any = 0.06,
        other_ratio: float = 1.0,
        momentum: float = 0.9,
        decay: float = 5e-4,
        name: str = "sphere_muon",
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **options)
        self.other_ratio, self.momentum, self.decay = other_ratio, momentum, decay

    def build(self, variables: list[keras.Variable]) -> None:
        """Make a momentum for each variable."""
        if self.built:
            return
        super().build(variables)
        self._momenta = [self.add_variable_from_reference(v, name="momentum") for v in variables]

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Change one variable."""
        gradient, weights = tf.convert_to_tensor(gradient), tf.convert_to_tensor(variable)
        rate = tf.cast(learning_rate, weights.dtype)
        # the stem has one input channel: its few rows gain nothing from being orthogonal
        orthogonal = len(weights.shape) == 4 and weights.shape[2] > 1
        if not orthogonal and len(weights.shape) > 1:
            gradient += self.decay * weights
        held = self._momenta[self._get_variable_index(variable)]
        momentum = self.momentum * tf.convert_to_tensor(held) + gradient
        held.assign(momentum)
        direction = gradient + self.momentum * momentum
        if not orthogonal:
            variable.assign(weights - rate * self.other_ratio * direction)
            return
        radius = (2.0 * weights.shape[-1]) ** 0.5
        matrix = orthogonalize(tf.reshape(direction, (-1, weights.shape[-1])))
        matrix *= radius / (tf.norm(matrix) + _TINY)
        moved = weights - rate * tf.reshape(matrix, weights.shape)
        variable.assign(moved * (radius / tf.norm(moved)))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"other_ratio": self.other_ratio, "momentum": self.momentum, "decay": self.decay}
        return {**super().get_config(), **own}


def orthogonalize(matrix: tf.Tensor) -> tf.Tensor:
    """Bring the singular values of a float matrix (rows, columns) near 1 by Newton-Schulz steps."""
    tall = matrix.shape[0] > matrix.shape[1]
    wide = tf.transpose(matrix) if tall else matrix
    wide /= tf.norm(wide) + _TINY
    for _ in range(_ITERATIONS):
        square = tf.matmul(wide, wide, transpose_b=True)
        wide = _A * wide + tf.matmul(_B * square + _C * tf.matmul(square, square), wide)
    return tf.transpose(wide) if tall else wide


# share of the peak, where `after` counts from 0 (end of warm-up) to 1
_FALLING: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "constant": tf.ones_like,
    # along half a cosine: Loshchilov and Hutter, SGDR (2017)
    "cosine": lambda after: 0.5 + 0.5 * tf.cos(math.pi * tf.maximum(after, 0.0)),
    "one-cycle": lambda after: 1 - after,
}


@keras.saving.register_keras_serializable("hemline")
class WarmSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc] # as above
    """A rate that rises from 0 to its peak over the first `warmup` of all steps, then falls."""

    def __init__(self, name: str, peak: float, total: int, warmup: float) -> None:
        self.name, self.peak, self.total, self.warmup = name, peak, total, warmup

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the rate of a step, counted from 0."""
        done = (tf.cast(step, tf.float32) + 0.5) / self.total
        rising = done / self.warmup if self.warmup else tf.ones_like(done)
        falling = _FALLING[self.name]((done - self.warmup) / (1 - self.warmup))
        return self.peak * tf.maximum(tf.minimum(rising, falling), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {name: getattr(self, name) for name in ("name", "peak", "total", "warmup")}


def build_optimizer(recipe: Recipe, rate: Any) -> keras.Optimizer:
    """Build the recipe's optimizer; `rate` is a number or a Keras schedule."""
    row = OPTIMIZERS[recipe.optimizer]
    options = row.arguments(recipe)
    if recipe.ema:
        options |= {"use_ema": True, "ema_momentum": recipe.ema, "ema_overwrite_frequency": None}
    optimizer = pkgutil.resolve_name(row.build)(learning_rate=rate, **options)
    if "weight_decay" in options:
        optimizer.exclude_from_weight_decay(var_names=_UNDECAYED)
    return optimizer


def build_schedule(recipe: Recipe, *, peak: float, steps: int) -> Any:
    """Return the peak itself, or a Keras schedule over so many steps."""
    if not SCHEDULES[recipe.schedule].by_step:
        return peak
    return WarmSchedule(recipe.schedule, peak, steps, recipe.warmup)

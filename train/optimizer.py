"""The optimizer and the learning-rate schedule of the default recipes."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

# Quintic Newton-Schulz coefficients of Jordan et al., Muon (2024): they pull singular values of
# 0 … 1 into about 0.7 … 1.2 in few steps, which is as good as 1 for a direction.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 4  # measured: a fifth changes nothing in accuracy
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


@keras.saving.register_keras_serializable("hemline")
class Triangle(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc] # as above
    """Rise from 0 to the peak over the first `warmup` of all steps, then fall to 0 at the last."""

    def __init__(self, peak: float, total: int, warmup: float) -> None:
        self.peak, self.total, self.warmup = peak, total, warmup

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the rate of a step, counted from 0."""
        done = (tf.cast(step, tf.float32) + 0.5) / self.total
        rising = done / self.warmup if self.warmup else tf.ones_like(done)
        falling = (1 - done) / (1 - self.warmup)
        return self.peak * tf.maximum(tf.minimum(rising, falling), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"peak": self.peak, "total": self.total, "warmup": self.warmup}

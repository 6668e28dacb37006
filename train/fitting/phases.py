"""The phases of a training run: one, or two when pretrained layers are frozen at first."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import tensorflow as tf

from hemline.train.nets.transfer import freeze
from hemline.train.recipes.keras_objects import build_optimizer, build_schedule
from hemline.train.recipes.recipe import Recipe

_FEWEST_AT_ONCE, _MOST_AT_ONCE = 10, 64
_AVERAGES, _LEAST_MOMENTUM = 50, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Epochs that are trained alike.

    first, end: epochs counted from 0; end is the first one after them.
    frozen: whether layers below the new top are not trained.
    free_layers: how many of the last ones of those train all the same.
    rate: multiplies the recipe's learning rate.
    """

    first: int
    end: int
    frozen: bool = False
    free_layers: int = 0
    rate: float = 1.0

    def prepare(self, model: keras.Model, recipe: Recipe, steps: int) -> None:
        """Compile a model for this phase; `steps` make an epoch."""
        if self.frozen:
            freeze(model, but_last=self.free_layers)
        else:
            model.trainable = True
        peak = recipe.learning_rate * self.rate
        total = steps * (self.end - self.first)
        _average_within(model, steps * recipe.epochs)
        if recipe.l2:
            for variable in model.trainable_variables:
                if len(variable.shape) > 1:  # no biases, no normalization
                    variable.regularizer = keras.regularizers.L2(recipe.l2)
        model.compile(
            build_optimizer(recipe, build_schedule(recipe, peak=peak, steps=total)),
            keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=recipe.label_smoothing
            ),
            metrics=["accuracy"],
            steps_per_execution=_steps_at_once(steps),
            jit_compile=False,  # XLA's convolutions are slower than oneDNN's on CPUs
        )


def _average_within(model: keras.Model, total: int) -> None:
    """Let the averages of batch normalization follow the weights of a short training too.

    They are over 1 / (1 - momentum) steps: at most a fiftieth of all phases' `total`, the same in
    each phase, so that a resumed training has it too. Over more, the layers of a deep net are
    evaluated with averages of weights that they no longer have. Measured: MobileNetV2 at 32 × 32,
    from random weights on 4,800 images, has 23 % on validation images with 0.99, 74 % with 0.9.
    """
    most = max(_LEAST_MOMENTUM, 1 - _AVERAGES / total)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, most)


def _steps_at_once(steps: int) -> int:
    """Return how many steps run without returning to Python: an equal part of the epoch.

    Only there does control-C end a training, so that it should not be minutes away.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        return 1  # Keras cannot do more on several devices
    part = next(size for size in range(_MOST_AT_ONCE, 0, -1) if steps % size == 0)
    return part if part >= _FEWEST_AT_ONCE else steps  # returning costs as much as a short step


def phases(recipe: Recipe) -> tuple[Phase, ...]:
    """Return the phases of a recipe."""
    border, end = recipe.frozen_epochs, recipe.epochs
    if not border:
        return (Phase(first=0, end=end),)
    free = recipe.fine_tuned_layers
    later = Phase(
        first=border, end=end, frozen=free > 0, free_layers=free, rate=recipe.fine_tuning_rate
    )
    return Phase(first=0, end=border, frozen=True), later

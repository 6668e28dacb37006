"""What an export trains its models on: images, labels, recipe, and how they are judged."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hemline.data.image_rows import selected
from hemline.data.splits import TrainingData
from hemline.errors import DataError, remedy
from hemline.export.quantization import simulation
from hemline.export.quantization.calibration import training_indices
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.planning import Planning
from hemline.export.quantization.qat.training import Lesson, trained
from hemline.export.quantization.quantized import Quantized
from hemline.export.quantization.simulation import Fidelity
from hemline.train.recipes.recipe import Recipe

# Rates from 1e-3 to 1e-2 and shares from 0.7 to 1 give hem-50k with 4-bit weights the same accuracy
# within 0.3 points: weights are trained in units of their own size.
RECIPE = Recipe(
    batch=256, optimizer="adam", learning_rate=2e-3, weight_decay=0.0, schedule="cosine",
    warmup=0.05, label_smoothing=0.0, monitor="accuracy", shift=0, flip=False, distillation=0.7,
    distillation_temperature=1.0, precision="float32",
)  # fmt: skip
_STEPS = 600  # of a usual training, in whole epochs: hem-50k has all of its accuracy back by then
_FEWEST_EPOCHS, _MOST_EPOCHS = 2, 30
_ACTIVATION_BYTES = 450 << 20  # of a batch
_VALUE_BYTES = 16  # of each: itself and rounded, and the gradients of both
_SMALLEST_BATCH = 8
_LEAST_ACCURACY = 0.9  # of a float model that is trained on labels; also the least agreement
_PIXEL_BYTES = 256 << 20  # of the images: TensorFlow holds them two or three times


class Course:
    """The training of one export: the same images and recipe for every plan."""

    def __init__(self, planning: Planning) -> None:
        """Raise DataError where there are no images."""
        if planning.calibration is None:
            raise DataError("training needs images", remedy=remedy("name images"))
        self._planning = planning
        self._teacher: FloatGraph = planning.source.float_graph

    def trained(self, start: Quantized, folder: str) -> Quantized:
        """Return a model with trained weights; a run that was stopped goes on in `folder`."""
        lesson = Lesson(
            teacher=self._teacher,
            data=self._data,
            recipe=self._recipe,
            seed=self._planning.options.seed,
            folder=self._planning.work / folder,
            say=self._planning.say,
        )
        return trained(start, lesson)

    def fidelity(self, quantized: Quantized) -> Fidelity:
        """Return what a model does on validation."""
        images, labels = self._planning.validation
        return simulation.fidelity(simulation.logits(quantized, images), self._reference, labels)

    def lost_points(self, found: Fidelity) -> float:
        """Return what training is to win: lost accuracy, or agreement where it has no labels."""
        return found.drop_points if self._learns_labels else 100 * (1 - found.agreement)

    @functools.cached_property
    def _reference(self) -> npt.NDArray[np.float32]:
        return simulation.float_logits(self._teacher, self._planning.validation[0])

    @functools.cached_property
    def _data(self) -> TrainingData:
        """Return images and labels; those that the teacher predicts where no others are learnt."""
        images, labels = self._planning.images.train_images, self._planning.images.train_labels
        indices = training_indices(len(images), self._planning.split)
        most = max(1, _PIXEL_BYTES // images[0].size)
        if self._planning.options.training_epochs is None:
            most = min(most, _STEPS * batch_of(self._teacher) // _FEWEST_EPOCHS)
        if len(indices) > most:
            random = np.random.default_rng(self._planning.options.seed)
            indices = np.sort(random.permutation(indices)[:most])
        held_out, known = self._planning.validation
        if known is None or not self._learns_labels:
            known = self._reference.argmax(axis=1).astype(np.uint8)
        return TrainingData(
            train_images=selected(images, indices),
            train_labels=labels[indices],
            validation_images=held_out,
            validation_labels=known,
            split=self._planning.split,
        )

    @property
    def _recipe(self) -> Recipe:
        count = len(self._data.train_images)
        batch = min(batch_of(self._teacher), count)
        steps = max(1, count // batch)
        usual = min(max(math.ceil(_STEPS / steps), _FEWEST_EPOCHS), _MOST_EPOCHS)
        epochs = self._planning.options.training_epochs or usual
        return replace(
            RECIPE,
            epochs=epochs,
            early_stopping=epochs,  # never stops early, and keeps the best epoch
            batch=batch,
            # a sum of fewer gradients is noisier
            learning_rate=RECIPE.learning_rate * math.sqrt(batch / RECIPE.batch),
            distillation=RECIPE.distillation if self._learns_labels else 1.0,
        )

    @functools.cached_property
    def _learns_labels(self) -> bool:
        """Return whether labels are part of the loss: those that the float model mostly predicts.

        They would make another model of one that does not, and its files are verified against it.
        """
        labels = self._planning.validation[1]
        if labels is None:
            return False
        return bool((self._reference.argmax(axis=1) == labels).mean() >= _LEAST_ACCURACY)


def batch_of(graph: FloatGraph) -> int:
    """Return the images of a step: the recipe's, or fewer of a model of large activations."""
    values = sum(math.prod(shape) for shape in graph.graph.shapes.values())
    return int(np.clip(_ACTIVATION_BYTES // (values * _VALUE_BYTES), _SMALLEST_BATCH, RECIPE.batch))

"""Train a quantized model through its rounding, distilled from its float model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import tensorflow as tf

from hemline import files
from hemline.contract import schema
from hemline.contract.card import Epoch
from hemline.contract.specs import LOGITS
from hemline.data.datasets import array_sha256
from hemline.data.splits import TrainingData
from hemline.errors import DivergenceError, HemlineError
from hemline.export.graph.rebuild import Rebuilt
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.plan import RangeOrigin
from hemline.export.quantization.qat.network import QuantizedNetwork, quantized_model
from hemline.export.quantization.quantized import Quantized
from hemline.progress import Progress
from hemline.train.fitting.distillation import Teach
from hemline.train.fitting.fitting import Run, Trained, fit
from hemline.train.fitting.pipeline import steps_per_epoch
from hemline.train.fitting.progress import clear_progress, unfinished_run
from hemline.train.recipes.recipe import Recipe

_MOVING_SHARE = 0.5  # of all steps, in which ranges move; weights then settle on fixed grids


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a quantized model is trained on, and how.

    teacher: the float model; its predictions are the targets, blended with the labels.
    data: images and labels; where there are none, the labels that the teacher predicts.
    recipe, seed: as for any training.
    folder: of the progress; a run that was stopped goes on there.
    say: reports each epoch.
    """

    teacher: FloatGraph
    data: TrainingData
    recipe: Recipe
    seed: int
    folder: Path
    say: Callable[[str], None]

    @property
    def steps(self) -> int:
        """Return the steps of the whole training."""
        return self.recipe.epochs * steps_per_epoch(len(self.data.train_images), self.recipe)


def trained(start: Quantized, lesson: Lesson) -> Quantized:
    """Return a model of the same plan with trained weights and ranges, of the best epoch.

    Raises HemlineError when the loss stops being a number.
    """
    model = quantized_model(
        start.float_graph, start.plan, moving=round(_MOVING_SHARE * lesson.steps)
    )
    run_sha256 = _identity(start, lesson)
    if unfinished_run(lesson.folder) not in (None, run_sha256):
        clear_progress(lesson.folder)  # of other weights, options or images
    fitted = _fitted(model, lesson, run_sha256)
    layer = fitted.model.get_layer(QuantizedNetwork.NAME)
    return _quantized(start, layer, lesson)


def _fitted(model: keras.Model, lesson: Lesson, run_sha256: str) -> Trained:
    recipe = lesson.recipe
    run = Run(
        recipe=recipe,
        seed=lesson.seed,
        precision="float32",
        folder=lesson.folder,
        run_sha256=run_sha256,
        teach=_teacher(lesson.teacher, recipe.distillation_temperature),
    )

    def on_epoch(epoch: Epoch, epochs: int) -> None:
        lesson.say(
            f"epoch {epoch.epoch:>3}/{epochs}  loss {epoch.loss:.3f}  "
            f"validation {100 * epoch.validation_accuracy:.2f} %  {epoch.seconds:.1f} s"
        )
        progress.show(done=epoch.epoch)

    try:
        with Progress("training", recipe.epochs) as progress:
            return fit(model, run, lesson.data, started=time.perf_counter(), on_epoch=on_epoch)
    except DivergenceError as error:
        clear_progress(lesson.folder)  # it would break down there again
        raise HemlineError(f"quantization-aware {error}") from error
    except HemlineError as error:
        if isinstance(error.__cause__, MemoryError | tf.errors.ResourceExhaustedError):
            # the advice of a training, to make it smaller, is of no use here
            what = f"quantization-aware training with {recipe.batch} images in a step"
            raise HemlineError(f"the memory is not enough for {what}") from error
        raise


def _teacher(graph: FloatGraph, temperature: float) -> Teach:
    rebuilt = Rebuilt(graph.proto)
    return lambda images: tf.stop_gradient(tf.nn.softmax(rebuilt(images)[LOGITS] / temperature))


def _quantized(start: Quantized, layer: QuantizedNetwork, lesson: Lesson) -> Quantized:
    ranges = layer.trained_ranges()
    activations = tuple(
        replace(each, low=ranges[each.tensor][0], high=ranges[each.tensor][1])
        for each in start.plan.activations
    )
    pixels = lesson.data.train_images
    origin = RangeOrigin(
        calibrator="training",
        images=len(pixels),
        images_sha256=array_sha256(pixels),
        seed=lesson.seed,
    )
    plan = replace(start.plan, activations=activations, origin=origin)
    return replace(start, float_graph=layer.trained_graph(), plan=plan)


def _identity(start: Quantized, lesson: Lesson) -> str:
    """Return a hash of all that the result depends on."""
    data = lesson.data
    return files.fingerprint(
        {
            "weights": {
                name: array_sha256(values)
                for name, values in start.float_graph.graph.constants.items()
            },
            "plan": schema.to_document(start.plan),
            "teacher": [array_sha256(x) for x in lesson.teacher.graph.constants.values()],
            "recipe": lesson.recipe.as_fields(),
            "seed": lesson.seed,
            "data": [array_sha256(data.train_images), array_sha256(data.train_labels)],
            "validation": [array_sha256(data.validation_images)],
        }
    )

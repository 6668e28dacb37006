"""Fit a model by a recipe: phases, learning rates, the weights that are kept, and resuming."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hemline.contract.card import Epoch
from hemline.data.splits import TrainingData
from hemline.errors import DivergenceError, HemlineError, remedy
from hemline.train.confidence import cross_entropy
from hemline.train.fitting.distillation import Student, Teach, open_teachers
from hemline.train.fitting.phases import Phase, phases
from hemline.train.fitting.pipeline import steps_per_epoch, training_batches
from hemline.train.fitting.precision import FLOAT32
from hemline.train.fitting.progress import (
    Kept,
    Progress,
    read_progress,
    restore_weights,
    save_progress,
)
from hemline.train.fitting.soft_targets import SoftTargets, soft_targets
from hemline.train.nets.normalization import training_copy
from hemline.train.predictor import Predictor
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.stopping import best_epoch, is_over, plateau_factor

log = logging.getLogger(__name__)

OnEpoch = Callable[[Epoch, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a model is fitted.

    recipe, seed: as asked for.
    precision: float32 or mixed_bfloat16.
    folder: of the progress.
    run_sha256: of the model, the images and all that decides the result: only it is resumed.
    teachers: folders of checkpoints; teacher_precision: what they compute in.
    teach: a teacher in memory, in their place: float pixels (n, h, w, c) to probabilities at the
        recipe's temperature.
    """

    recipe: Recipe
    seed: int
    precision: str
    folder: Path
    run_sha256: str
    teachers: tuple[Path, ...] = ()
    teacher_precision: str = FLOAT32
    teach: Teach | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The fitted model, its history, the epoch of its weights, and seconds so far."""

    model: keras.Model
    history: tuple[Epoch, ...]
    kept_epoch: int
    seconds: Callable[[], float]


def fit(
    model: keras.Model, run: Run, data: TrainingData, *, started: float, on_epoch: OnEpoch
) -> Trained:
    """Train a model, in place, to the last epoch, from its own or from restored weights.

    model: of any source, a graph of layers from float pixels 0 … 255 (n, h, w, c) to logits
        (n, classes). A copy is trained; the weights that are kept are set at the end.
    started: time.perf_counter() when the work began.
    on_epoch: called after each epoch, which is saved before.

    Raises DivergenceError when the loss stops being a number, HemlineError when the memory is not
    enough, UsageError for a model that cannot be copied.
    """
    with within_memory(model.name, run.recipe):
        return _Fitting(model, run, data, started, on_epoch).fit()


@contextlib.contextmanager
def within_memory(name: str, recipe: Recipe) -> Iterator[None]:
    """Raise HemlineError when the memory is not enough for the model in the block."""
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise HemlineError(
            f"not enough memory for {name} and {recipe.batch} images per step",
            remedy=remedy("smaller training"),
        ) from error


class _Fitting:
    def __init__(
        self, model: keras.Model, run: Run, data: TrainingData, started: float, on_epoch: OnEpoch
    ) -> None:
        self._model, self._run, self._data, self._on_epoch = model, run, data, on_epoch
        self._started, self._before = started, 0.0
        self._steps = steps_per_epoch(len(data.train_images), run.recipe)
        self._history: tuple[Epoch, ...] = ()
        self._kept: Kept | None = None
        self._soft: SoftTargets | None = None

    def fit(self) -> Trained:
        run = self._run
        state = read_progress(run.folder, run_sha256=run.run_sha256)
        keras.utils.set_random_seed(run.seed)
        one = run.recipe.strategy == "none"
        with (tf.distribute.get_strategy() if one else _mirrored()).scope():
            trained = self._with_teachers(
                training_copy(self._model, run.precision),
                epochs_left=run.recipe.epochs - (0 if state is None else len(state.history)),
            )
            if state is not None:
                self._restore(trained, state)
            for phase in phases(run.recipe):
                if len(self._history) < phase.end and not self._over(phase):
                    self._fit_phase(trained, phase)
        assert self._kept is not None  # noqa: S101 — a recipe has an epoch at least
        self._model.set_weights(self._kept.weights)
        kept = self._kept.epoch if run.recipe.early_stopping else 0
        return Trained(
            model=self._model, history=self._history, kept_epoch=kept, seconds=self._seconds
        )

    def _with_teachers(self, model: keras.Model, *, epochs_left: int) -> keras.Model:
        recipe, run = self._run.recipe, self._run
        if not run.teachers and run.teach is None:
            return model
        teach, precision = run.teach, run.teacher_precision
        if teach is None:
            teach = open_teachers(run.teachers, recipe.distillation_temperature, precision)
            self._soft = soft_targets(
                teach,
                self._data.train_images,
                recipe,
                teachers=run.teachers,
                precision=precision,
                epochs=epochs_left,
            )
        return Student(
            inputs=model.input,
            outputs=model.output,
            teach=teach if self._soft is None else None,
            share=recipe.distillation,
            temperature=recipe.distillation_temperature,
        )

    def _restore(self, model: keras.Model, state: Progress) -> None:
        done = len(state.history)
        last = next(phase for phase in phases(self._run.recipe) if done <= phase.end)
        last.prepare(model, self._run.recipe, self._steps)
        self._kept = restore_weights(self._run.folder, state, model)
        if done == last.end:  # where Keras ends a phase: a next one begins with the averages
            model.optimizer.finalize_variable_values(model.trainable_variables)
        self._history, self._before = state.history, state.seconds
        log.info("resuming after epoch %d", done)

    def _fit_phase(self, model: keras.Model, phase: Phase) -> None:
        run, recipe = self._run, self._run.recipe
        done = len(self._history)
        if done == phase.first:  # else the optimizer was restored with its state
            phase.prepare(model, recipe, self._steps)
        batches = training_batches(
            self._data.train_images,
            self._data.train_labels,
            recipe,
            seed=run.seed,
            epochs=range(done, phase.end),
            classes=self._model.output_shape[-1],
            soft=self._soft,
        )
        model.fit(
            batches,
            initial_epoch=done,
            epochs=phase.end,
            steps_per_epoch=self._steps,
            verbose=0,
            shuffle=False,  # the pipeline has shuffled
            callbacks=[self._callback(model, phase)],
        )

    def _callback(self, model: keras.Model, phase: Phase) -> keras.callbacks.Callback:
        began, predictor = [time.perf_counter()], Predictor(model)
        peak = self._run.recipe.learning_rate * phase.rate

        def begin(_: int, _logs: dict[str, float]) -> None:
            factor = plateau_factor(self._run.recipe, self._history[phase.first :])
            if factor != 1.0:
                model.optimizer.learning_rate = peak * factor

        def end(_: int, logs: dict[str, float]) -> None:
            seconds = time.perf_counter() - began[0]
            with _averaged(model, self._run.recipe):
                epoch = self._describe(model, predictor, logs, seconds)
                self._require_finite(epoch)
                self._history = (*self._history, epoch)
                self._keep(model)
            self._save(model)
            self._on_epoch(epoch, self._run.recipe.epochs)
            if self._over(phase):
                model.stop_training = True
            began[0] = time.perf_counter()

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)

    def _over(self, phase: Phase) -> bool:
        # only the last phase stops early: the next one begins with a top that no longer improves
        recipe = self._run.recipe
        return phase.end == recipe.epochs and is_over(recipe, self._history[phase.first :])

    def _keep(self, model: keras.Model) -> None:
        """Keep the weights of the last epoch, or of the best one where a recipe stops early."""
        recipe, last = self._run.recipe, self._history[-1].epoch
        if not recipe.early_stopping or best_epoch(recipe, self._history).epoch == last:
            self._kept = Kept(epoch=last, weights=model.get_weights())

    def _save(self, model: keras.Model) -> None:
        assert self._kept is not None  # noqa: S101 — the first epoch is kept
        save_progress(
            self._run.folder,
            model,
            self._kept,
            run_sha256=self._run.run_sha256,
            history=self._history,
            seconds=self._seconds(),
        )

    def _describe(
        self, model: keras.Model, predictor: Predictor, logs: dict[str, float], seconds: float
    ) -> Epoch:
        labels = self._data.validation_labels
        logits = predictor.logits(self._data.validation_images)
        return Epoch(
            epoch=len(self._history) + 1,
            seconds=round(seconds, 2),
            learning_rate=float(model.optimizer.learning_rate.numpy()),
            loss=float(logs["loss"]),
            accuracy=float(logs["accuracy"]),
            validation_loss=cross_entropy(logits, labels),
            validation_accuracy=float((logits.argmax(axis=1) == labels).mean()),
        )

    def _require_finite(self, epoch: Epoch) -> None:
        if not (math.isfinite(epoch.loss) and math.isfinite(epoch.validation_loss)):
            raise DivergenceError(
                f"training diverged in epoch {epoch.epoch} (the loss is {epoch.loss})",
                epoch=epoch.epoch,
                remedy=remedy(
                    "diverged", epoch=epoch.epoch - 1, folder=self._run.folder / "progress"
                ),
            )

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._started


@functools.cache  # the sums over devices of a second one would be taken for those of the first
def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


@contextlib.contextmanager
def _averaged(model: keras.Model, recipe: Recipe) -> Iterator[None]:
    """Have the moving averages as the model's weights in the block, where a recipe takes them."""
    if not recipe.ema:
        yield
        return
    variables = model.trainable_variables
    raw = [np.asarray(variable.numpy()) for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, array in zip(variables, raw, strict=True):
            variable.assign(array)

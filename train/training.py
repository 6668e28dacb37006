"""Train a model by a recipe and write its checkpoint: the model, its card and its history."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from hemline import files, schema
from hemline.card import Card, Epoch, Score
from hemline.dataset import Images
from hemline.errors import HemlineError
from hemline.provenance import utc_now, versions
from hemline.runtime.host import host_facts
from hemline.train.checkpoint import CARD_NAME, HISTORY_NAME, MODEL_NAME
from hemline.train.confidence import fit_temperature, fit_unknown_threshold
from hemline.train.evaluation import Predictor
from hemline.train.models import ModelRow, build_model, count_macs
from hemline.train.optimizer import SphereMuon, Triangle
from hemline.train.pipeline import TrainingData, split_images, steps_per_epoch, training_batches
from hemline.train.progress import clear_progress, restore_progress, save_progress
from hemline.train.recipe import Recipe, resolve_precision
from hemline.vector import TestVector

log = logging.getLogger(__name__)

PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "scipy")
_VECTORS = 2  # enough to see a wrong build on a device; each costs 0.6 kB in every artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train.

    model: row of the MODELS table.
    recipe: how; recipe_name is what it is called in the card.
    seed: of weights, order and augmentation.
    folder: of the checkpoint.
    restart: forget an unfinished run in the folder.
    """

    model: ModelRow
    recipe: Recipe
    recipe_name: str
    seed: int
    folder: Path
    restart: bool = False


OnEpoch = Callable[[Epoch, int], None]


def train(request: TrainRequest, images: Images, *, on_epoch: OnEpoch) -> Card:
    """Train, evaluate and write a checkpoint; an interrupted run of the same request goes on.

    `on_epoch` is called after each epoch with it and the number of epochs. Raises HemlineError when
    the loss stops being a number.
    """
    started = time.perf_counter()
    with files.locked(request.folder):
        if request.restart:
            clear_progress(request.folder)
        limit = request.recipe.limit or None
        data = split_images(images, validation=request.recipe.validation, limit=limit)
        trained = _Run(request, images, data, started).fit(on_epoch)
        card = _write_checkpoint(request, images, data, trained)
        clear_progress(request.folder)
        return card


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    model: keras.Model
    history: tuple[Epoch, ...]
    precision: str
    seconds: Callable[[], float]


class _Run:
    """One training run, from fresh or restored weights to the last epoch."""

    def __init__(
        self, request: TrainRequest, images: Images, data: TrainingData, started: float
    ) -> None:
        self._request, self._images, self._data = request, images, data
        self._started, self._before = started, 0.0
        self._precision = resolve_precision(request.recipe.precision)
        self._history: tuple[Epoch, ...] = ()
        self._run_sha256 = files.fingerprint(
            {
                "model": request.model.name,
                "recipe": request.recipe.as_fields(),
                "seed": request.seed,
                "precision": self._precision,
                "data": images.sha256,
                "classes": len(images.dataset.labels),
            }
        )

    def fit(self, on_epoch: OnEpoch) -> _Trained:
        recipe, data = self._request.recipe, self._data
        keras.utils.set_random_seed(self._request.seed)
        classes = len(self._images.dataset.labels)
        shape = _shape(data.train_images)
        model = build_model(self._request.model, shape, classes, policy=self._precision)
        steps = steps_per_epoch(len(data.train_images), recipe)
        compile_model(model, recipe, steps)
        state = restore_progress(self._request.folder, model, run_sha256=self._run_sha256)
        if state is not None:
            self._history, self._before = state.history, state.seconds
            log.info("resuming after epoch %d", len(self._history))
        batches = training_batches(
            data.train_images,
            data.train_labels,
            recipe,
            seed=self._request.seed,
            first_epoch=len(self._history),
            classes=classes,
        )
        model.fit(
            batches,
            initial_epoch=len(self._history),
            epochs=recipe.epochs,
            steps_per_epoch=steps,
            verbose=0,
            shuffle=False,  # the pipeline has shuffled
            callbacks=[self._after_each_epoch(model, on_epoch)],
        )
        return _Trained(
            model=self._in_float32(model, shape, classes),
            history=self._history,
            precision=self._precision,
            seconds=self._seconds,
        )

    def _after_each_epoch(self, model: keras.Model, on_epoch: OnEpoch) -> keras.callbacks.Callback:
        run, began, predictor = self, [time.perf_counter()], Predictor(model)

        def end(_: int, logs: dict[str, float]) -> None:
            epoch = run._describe(model, predictor, logs, time.perf_counter() - began[0])
            if not (math.isfinite(epoch.loss) and math.isfinite(epoch.validation_loss)):
                raise HemlineError(
                    f"training broke down in epoch {epoch.epoch} (the loss is {epoch.loss}): start "
                    f"anew with --restart and a lower --learning-rate; the weights of epoch "
                    f"{epoch.epoch - 1} stay in {run._request.folder / 'progress'} until then"
                )
            run._history = (*run._history, epoch)
            save_progress(
                run._request.folder,
                model,
                run_sha256=run._run_sha256,
                history=run._history,
                seconds=run._seconds(),
            )
            on_epoch(epoch, run._request.recipe.epochs)
            began[0] = time.perf_counter()

        return keras.callbacks.LambdaCallback(on_epoch_end=end)

    def _describe(
        self, model: keras.Model, predictor: Predictor, logs: dict[str, float], seconds: float
    ) -> Epoch:
        logits = predictor.logits(self._data.validation_images)
        loss, accuracy = _validation_figures(logits, self._data.validation_labels)
        return Epoch(
            epoch=len(self._history) + 1,
            seconds=round(seconds, 2),
            learning_rate=float(model.optimizer.learning_rate),
            loss=float(logs["loss"]),
            accuracy=float(logs["accuracy"]),
            validation_loss=loss,
            validation_accuracy=accuracy,
        )

    def _in_float32(
        self, model: keras.Model, shape: tuple[int, int, int], classes: int
    ) -> keras.Model:
        plain = build_model(self._request.model, shape, classes, policy="float32")
        plain.set_weights(model.get_weights())
        return plain

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._started


def _shape(images: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    _, height, width, channels = images.shape
    return height, width, channels


def compile_model(model: keras.Model, recipe: Recipe, steps: int) -> None:
    """Give a model its optimizer, schedule and loss; `steps` make an epoch, run as one call."""
    schedule = Triangle(
        peak=recipe.learning_rate, total=steps * recipe.epochs, warmup=recipe.warmup
    )
    optimizer = SphereMuon(
        learning_rate=schedule,
        other_ratio=recipe.other_learning_rate / recipe.learning_rate,
        momentum=recipe.momentum,
        decay=recipe.weight_decay,
    )
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        ),
        metrics=["accuracy"],
        steps_per_execution=steps,  # a whole epoch without returning to Python
        jit_compile=False,  # XLA's convolutions are slower than oneDNN's on CPUs
    )


def _validation_figures(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]
) -> tuple[float, float]:
    from scipy.special import log_softmax

    rows = np.arange(len(labels))
    loss = float(-log_softmax(logits.astype(np.float64), axis=1)[rows, labels].mean())
    return loss, float((logits.argmax(axis=1) == labels).mean())


def _write_checkpoint(
    request: TrainRequest, images: Images, data: TrainingData, trained: _Trained
) -> Card:
    model, folder = trained.model, request.folder
    predictor = Predictor(model)
    validation = predictor.logits(data.validation_images)
    test = predictor.logits(images.test_images)  # the one look at the test split
    temperature = fit_temperature(validation, data.validation_labels)
    with files.replacing(folder / MODEL_NAME) as partial:
        model.save(partial)
    files.write_bytes(folder / HISTORY_NAME, _as_csv(trained.history))
    host = host_facts()
    card = Card(
        model=request.model.name,
        parameters=int(model.count_params()),
        macs=count_macs(model),
        labels=images.dataset.labels,
        height=data.train_images.shape[1],
        width=data.train_images.shape[2],
        channels=data.train_images.shape[3],
        dataset=images.dataset.name,
        data_sha256=images.sha256,
        split=data.split,
        recipe=request.recipe_name,
        recipe_fields=request.recipe.as_fields(),
        seed=request.seed,
        precision=trained.precision,
        scores=(
            _score("validation", validation, data.validation_labels),
            _score("test", test, images.test_labels),
        ),
        history=trained.history,
        training_seconds=round(trained.seconds(), 1),
        temperature=temperature,
        unknown_threshold=fit_unknown_threshold(validation, data.validation_labels, temperature),
        test_vectors=tuple(
            TestVector.of(data.validation_images[at], validation[at]) for at in range(_VECTORS)
        ),
        checkpoint_sha256=files.sha256_of(folder / MODEL_NAME),
        versions=versions(PACKAGES),
        host=f"{host.processor}, {host.cores} cores",
        created=utc_now(),
        preprocessing=images.dataset.preprocessing,
    )
    schema.save(folder / CARD_NAME, card)
    return card


def _score(split: str, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> Score:
    correct = int((logits.argmax(axis=1) == labels).sum())
    return Score(split=split, images=len(labels), correct=correct)


def _as_csv(history: tuple[Epoch, ...]) -> bytes:
    stream = io.StringIO()
    names = list(Epoch.__dataclass_fields__)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(epoch, name) for name in names] for epoch in history)
    return stream.getvalue().encode()

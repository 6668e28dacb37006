"""Train a model by a recipe and write its checkpoint: the model, its card and its history."""

from __future__ import annotations

import csv
import dataclasses
import io
import time
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hemline import files
from hemline.contract import schema
from hemline.contract.card import Card, Epoch, ModelCard, TrainingCard
from hemline.contract.checkpoint import CARD_NAME, HISTORY_NAME, MODEL_NAME
from hemline.contract.score import Score
from hemline.contract.specs import InputSpec
from hemline.contract.test_vector import TestVector
from hemline.data.datasets import Images
from hemline.data.splits import TrainingData, split_images
from hemline.host import host_facts
from hemline.pictures.generated import self_test_images
from hemline.provenance import commit, utc_now, versions
from hemline.train.confidence import fit_temperature, fit_unknown_threshold
from hemline.train.fitting.distillation import read_teachers
from hemline.train.fitting.fitting import OnEpoch, Run, Trained, fit, within_memory
from hemline.train.fitting.precision import (
    BFLOAT16,
    FLOAT32,
    Workload,
    resolve_precision,
    teacher_precision,
)
from hemline.train.fitting.progress import clear_progress, unfinished_run
from hemline.train.nets.models import count_macs, seeded_model
from hemline.train.predictor import Predictor
from hemline.train.request import TrainRequest

PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "scipy")


def train(request: TrainRequest, images: Images, *, on_epoch: OnEpoch) -> Card:
    """Train, evaluate and write a checkpoint; an interrupted run of the same request goes on.

    `on_epoch` is called after each epoch with it and the number of epochs. Raises HemlineError when
    the loss stops being a number, UsageError for a teacher that does not fit.
    """
    started = time.perf_counter()
    recipe = request.recipe
    with files.locked(request.folder):
        if request.restart:
            clear_progress(request.folder)
        data = split_images(images, validation=recipe.validation, limit=recipe.limit or None)
        labels, shape = images.dataset.labels, data.shape
        cards = read_teachers(request.teachers, labels=labels, shape=shape, split=data.split)
        identity = _identity(request, images, cards)
        with within_memory(request.model.name, recipe):
            classes = len(images.dataset.labels)
            model = seeded_model(
                request.model,
                recipe,
                data.shape,
                classes,
                seed=request.seed,
                weights=request.weights,
            )
            workload = Workload(model=model, recipe=recipe, images=len(data.train_images))
            run = _run(request, identity, cards, workload)
            trained = fit(model, run, data, started=started, on_epoch=on_epoch)
        card = _write_checkpoint(request, images, data, run, identity, trained)
        clear_progress(request.folder)
        return card


def _identity(request: TrainRequest, images: Images, cards: tuple[Card, ...]) -> dict[str, Any]:
    """Return what a run depends on but its precision, read before any of it can be overwritten."""
    return {
        "model": request.model.name,
        "recipe": request.recipe.as_fields(),
        "seed": request.seed,
        "data": images.sha256,
        "classes": len(images.dataset.labels),
        "teachers": [card.model.sha256 for card in cards],
        "weights": "" if request.weights is None else files.sha256_of(request.weights),
    }


def _run(
    request: TrainRequest, identity: dict[str, Any], cards: tuple[Card, ...], workload: Workload
) -> Run:
    def sha256_in(precision: str) -> str:
        return files.fingerprint({**identity, "precision": precision})

    begun = {sha256_in(precision): precision for precision in (FLOAT32, BFLOAT16)}
    unfinished = unfinished_run(request.folder)
    if request.recipe.precision == "auto" and unfinished in begun:
        precision = begun[unfinished]  # measured again it might be the other one
    else:
        precision = resolve_precision(workload)
    return Run(
        recipe=request.recipe,
        seed=request.seed,
        precision=precision,
        teachers=request.teachers,
        teacher_precision=teacher_precision(cards),
        folder=request.folder,
        run_sha256=sha256_in(precision),
    )


def _write_checkpoint(
    request: TrainRequest,
    images: Images,
    data: TrainingData,
    run: Run,
    identity: dict[str, Any],
    trained: Trained,
) -> Card:
    model, folder = trained.model, request.folder
    predictor = Predictor(model)
    validation = predictor.logits(data.validation_images)
    test = predictor.logits(images.test_images)  # the only use of the test split
    with files.replacing(folder / MODEL_NAME) as partial:
        model.save(partial)
    files.write_bytes(folder / HISTORY_NAME, _as_csv(trained.history))
    card = Card(
        model=_model_card(request, images, model, data, validation),
        training=TrainingCard(
            dataset=images.dataset.name,
            data_sha256=images.sha256,
            split=data.split,
            recipe=request.recipe_name,
            recipe_fields=request.recipe.as_fields(),
            seed=request.seed,
            precision=run.precision,
            scores=(
                _score("validation", validation, data.validation_labels),
                _score("test", test, images.test_labels),
            ),
            history=trained.history,
            seconds=round(trained.seconds(), 1),
            teachers=tuple(identity["teachers"]),
            pretrained_sha256=identity["weights"],
            kept_epoch=trained.kept_epoch,
        ),
    )
    schema.save(folder / CARD_NAME, card)
    return card


def _model_card(
    request: TrainRequest,
    images: Images,
    model: keras.Model,
    data: TrainingData,
    logits: npt.NDArray[np.float32],
) -> ModelCard:
    """Return the card of a trained model with its logits (n, classes) of the validation images."""
    _, height, width, channels = data.train_images.shape
    temperature = fit_temperature(logits, data.validation_labels)
    host = host_facts()
    return ModelCard(
        name=request.model.name,
        source="keras",
        file=MODEL_NAME,
        sha256=files.sha256_of(request.folder / MODEL_NAME),
        parameters=int(model.count_params()),
        macs=count_macs(model),
        labels=images.dataset.labels,
        input=InputSpec(height=height, width=width, channels=channels, dtype="float32"),
        preprocessing=images.dataset.preprocessing,
        temperature=temperature,
        unknown_threshold=fit_unknown_threshold(logits, data.validation_labels, temperature),
        test_vectors=_test_vectors(images, model, data),
        versions=versions(PACKAGES),
        commit=commit(),
        host=f"{host.processor}, {host.cores} cores",
        created=utc_now(),
    )


def _test_vectors(images: Images, model: keras.Model, data: TrainingData) -> tuple[TestVector, ...]:
    """Return images with their logits: of a custom data set generated ones, since cards travel."""
    custom = images.dataset.is_custom
    height, width, channels = data.shape
    some = self_test_images((height, width, channels)) if custom else data.validation_images[:2]
    pairs = zip(some, Predictor(model).logits(some), strict=True)
    return tuple(TestVector.of(image, logits) for image, logits in pairs)


def _score(split: str, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> Score:
    correct = int((logits.argmax(axis=1) == labels).sum())
    return Score(split=split, images=len(labels), correct=correct)


def _as_csv(history: tuple[Epoch, ...]) -> bytes:
    stream = io.StringIO()
    names = [each.name for each in dataclasses.fields(Epoch)]
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(dataclasses.asdict, history))
    return stream.getvalue().encode()

"""The card of a checkpoint: a model card, and a training card where it was trained here."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hemline.contract.card import Card
from hemline.contract.schema import from_document, to_document
from hemline.errors import FileFormatError, SchemaError

# What `hemline train` wrote before there were two parts, shortened: lists have one entry.
OLD: dict[str, Any] = {
    "kind": "card",
    "schema": 2,
    "model": "hem-50k",
    "parameters": 47370,
    "macs": 3641296,
    "labels": ["T-shirt/top", "Trouser"],
    "height": 28,
    "width": 28,
    "channels": 1,
    "dataset": "fashion-mnist",
    "data_sha256": {"t10k-labels-idx1-ubyte": "0402a96d"},
    "split": {
        "seed": 20170831,
        "limit": None,
        "validation_indices": [16, 27],
        "validation_sha256": "cf80a035",
    },
    "recipe": "fast",
    "recipe_fields": {"epochs": 24, "learning_rate": 0.03, "flip": True, "precision": "auto"},
    "seed": 1,
    "precision": "mixed_bfloat16",
    "scores": [
        {"split": "validation", "images": 5000, "correct": 4670},
        {"split": "test", "images": 10000, "correct": 9310},
    ],
    "history": [
        {
            "epoch": 1,
            "seconds": 10.5,
            "learning_rate": 0.008,
            "loss": 1.32,
            "accuracy": 0.62,
            "validation_loss": 0.59,
            "validation_accuracy": 0.79,
        }
    ],
    "training_seconds": 264.9,
    "temperature": 0.7193,
    "unknown_threshold": 0.5175,
    "test_vectors": [{"pixels": "eNpl", "logits": [-0.5, 5.2]}],
    "checkpoint_sha256": "4d1f",
    "versions": {"keras": "3.11.3"},
    "host": "AMD EPYC, 2 cores",
    "created": "2026-11-20T10:00:00Z",
}


def test_a_card_of_one_part_is_read_as_two() -> None:
    card = from_document(Card, OLD, where="card.json")
    model, training = card.model, card.trained
    assert (model.name, model.source, model.sha256) == ("hem-50k", "keras", "4d1f")
    assert model.file == "checkpoint.keras"
    assert (model.shape, model.input.dtype, model.input.scale) == ((28, 28, 1), "float32", 1.0)
    assert (model.parameters, model.macs, model.labels) == (
        47370,
        3641296,
        ("T-shirt/top", "Trouser"),
    )
    assert (model.temperature, model.unknown_threshold) == (0.7193, 0.5175)
    assert model.test_vectors[0].logits == (-0.5, 5.2)
    assert (model.host, model.versions) == ("AMD EPYC, 2 cores", {"keras": "3.11.3"})
    assert (training.recipe, training.seed, training.seconds) == ("fast", 1, 264.9)
    assert training.split.validation_indices == (16, 27)
    assert training.score("test").correct == 9310
    assert training.history[0].loss == 1.32
    assert (training.teachers, training.kept_epoch, model.preprocessing) == ((), 0, "stretch")


@pytest.mark.parametrize("file", ["../model.keras", ".hidden", "/model.keras"])
def test_a_model_file_elsewhere_is_refused(file: str) -> None:
    document = to_document(from_document(Card, OLD, where="card.json"))
    document["model"]["file"] = file
    with pytest.raises(SchemaError, match="is not beside the card"):
        from_document(Card, document, where="card.json")


def test_the_fields_that_schema_2_added_are_kept() -> None:
    later = {"preprocessing": "product-photo", "teachers": ["ab"], "kept_epoch": 3}
    card = from_document(Card, {**OLD, **later, "pretrained_sha256": "cd"}, where="card.json")
    assert card.model.preprocessing == "product-photo"
    assert (card.trained.teachers, card.trained.kept_epoch) == (("ab",), 3)
    assert card.trained.pretrained_sha256 == "cd"


@pytest.mark.parametrize("missing", ["height", "recipe", "labels"])
def test_an_old_card_without_a_field_is_refused(missing: str) -> None:
    document = {name: value for name, value in OLD.items() if name != missing}
    with pytest.raises(SchemaError, match=missing):
        from_document(Card, document, where="card.json")


def test_a_model_that_was_not_trained_here_has_a_model_card_only() -> None:
    card = replace(from_document(Card, OLD, where="card.json"), training=None)
    assert from_document(Card, json.loads(json.dumps(to_document(card))), where="here") == card
    with pytest.raises(FileFormatError, match="hem-50k was not trained by Hemline"):
        _ = card.trained


def test_a_card_of_schema_3_has_no_import_part() -> None:
    document = to_document(from_document(Card, OLD, where="card.json"))
    del document["imported"]
    card = from_document(Card, {**document, "schema": 3}, where="card.json")
    assert card.imported is None
    assert card == from_document(Card, OLD, where="card.json")

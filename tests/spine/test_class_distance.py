"""The distance that a stamp holds: rounded to 8 bits, read back, refused where damaged."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from hemline.contract.class_distance import ClassDistance, Int8Rows
from hemline.contract.schema import from_document, to_document
from hemline.contract.specs import InputSpec, OutputSpec
from hemline.contract.stamp import Stamp
from hemline.errors import SchemaError


def made(size: int = 3, classes: int = 2) -> ClassDistance:
    return ClassDistance(
        threshold=2.5,
        mean=Int8Rows.of(np.ones((1, size))),
        directions=Int8Rows.of(np.eye(2, size)),
        variances=(1.0, 1.0),
        centers=Int8Rows.of(np.ones((2, classes))),
        rest=0.5,
    )


def stamp(distance: ClassDistance | None) -> Stamp:
    return Stamp(
        name="fp32.tflite",
        scheme="fp32",
        format="tflite",
        model="m",
        labels=("a", "b"),
        input=InputSpec(height=2, width=2, channels=1, dtype="float32"),
        outputs=(
            OutputSpec(size=2, dtype="float32"),
            OutputSpec(name="embedding", role="embedding", size=3, dtype="float32", position=1),
        ),
        supported_runtimes=(),
        parent_sha256="p",
        distance=distance,
    )


def test_a_row_is_within_half_a_step_of_its_own() -> None:
    matrix = np.random.default_rng(3).normal(0, [[1.0], [1000.0], [0.0]], (3, 50))
    half = np.abs(matrix).max(axis=1, keepdims=True) / 254
    # scales are stored with six digits, of 127 steps
    assert (np.abs(Int8Rows.of(matrix).array() - matrix) <= 1.001 * half).all()


def test_a_distance_is_read_back() -> None:
    document = json.loads(json.dumps(to_document(stamp(made()))))
    assert from_document(Stamp, document, where="here") == stamp(made())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 0.0}, "threshold of a distance must be positive"),
        ({"rest": float("inf")}, "threshold of a distance must be positive"),
        ({"centers": Int8Rows.of(np.ones((2, 3)))}, "not for 2 classes and 3 values"),
        ({"mean": Int8Rows.of(np.ones((1, 4)))}, "not for 2 classes and 3 values"),
        ({"variances": (1.0,)}, "not for 2 classes and 3 values"),
        ({"mean": Int8Rows(values="###", scales=(1.0,))}, "the document"),
        ({"mean": Int8Rows(values="AAAA", scales=())}, "the document"),
    ],
)
def test_a_damaged_distance_is_refused(change: dict[str, Any], message: str) -> None:
    document = to_document(stamp(made()))
    document["distance"] = to_document(dataclasses.replace(made(), **change))
    with pytest.raises(SchemaError, match=message):
        from_document(Stamp, document, where="here")


def test_a_distance_needs_an_embedding() -> None:
    with pytest.raises(ValueError, match="a distance needs an embedding"):
        dataclasses.replace(stamp(None), outputs=stamp(None).outputs[:1], distance=made())

"""Documents that older versions of Hemline wrote are read as the dataclasses of today."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest

from hemline.contract.job import Job
from hemline.contract.manifest import Manifest, Recommendation
from hemline.contract.schema import from_document, to_document
from hemline.contract.specs import OutputSpec, SupportedRuntime
from hemline.contract.stamp import Stamp
from hemline.errors import SchemaError
from hemline.export.quantization.plan import QuantizationPlan, WeightGrid

INT8 = {"dtype": "int8", "scale": 0.25, "zero_point": 3}
INPUT = {"height": 2, "width": 2, "channels": 1, "mean": 0.0, "std": 1.0, **INT8}
# as Hemline of schema 1 wrote them, before there was an embedding
STAMP_1 = {
    "kind": "stamp",
    "schema": 1,
    "name": "int8.tflite",
    "scheme": "int8",
    "format": "tflite",
    "model": "hem-50k",
    "labels": ["a", "b"],
    "input": INPUT,
    "output": {"classes": 2, **INT8},
    "claims": [{"runtime": "litert", "minimum": "2.3.0"}],
    "temperature": 1.5,
    "unknown_threshold": 0.25,
    "tolerance": 0.5,
    "test_vectors": [{"pixels": "", "logits": [0.0, 1.0]}],
    "parent_sha256": "p",
    "calibration_sha256": None,
    "payload_sha256": "0" * 64,
    "hemline_version": "0.1",
}
EMBEDDING = {"size": 40, "position": 0, **INT8}
STAMP_3 = {
    **{key: value for key, value in STAMP_1.items() if key != "claims"},
    "schema": 3,
    "output": {"classes": 2, "gives": "logits", **INT8},
    "supported_runtimes": STAMP_1["claims"],
    "preprocessing": "product-photo",
    "embedding": EMBEDDING,
    "takes_batches": True,
}
LOGITS = OutputSpec(size=2, dtype="int8", scale=0.25, zero_point=3)
VERDICT = {
    "runtime": "litert",
    "version": "2.3.0",
    "status": "wrong",
    "reason": "a label",
    "scores": [{"split": "test", "images": 10, "correct": 9}],
    "agreement": 9,
    "largest_difference": 0.5,
    "numpy_version": "1.26.4",
    "inputs_sha256": "i",
}
MANIFEST_2 = {
    "kind": "manifest",
    "schema": 2,
    "model": "hem-50k",
    "parameters": 1,
    "macs": 2,
    "labels": ["a", "b"],
    "dataset": "fashion-mnist",
    "data_sha256": {"train": "t"},
    "parent_sha256": "p",
    "validation_indices": [1, 2],
    "evaluation_sha256": {},
    "keras_scores": [{"split": "test", "images": 10, "correct": 9}],
    "artifacts": [
        {
            "name": "int8.tflite",
            "scheme": "int8",
            "format": "tflite",
            "sha256": "s",
            "size_bytes": 3,
            "input": INPUT,
            "output": {"classes": 2, **INT8},
            "calibration_sha256": "c",
            "recipe_sha256": "r",
            "tolerance": 0.5,
            "minimum_agreement": 0.98,
            "verdicts": [VERDICT],
            "embedding": EMBEDDING,
        }
    ],
    "recommended": None,
    "recommended_because": "",
    "versions": {},
    "created": "2026-01-01T00:00:00Z",
}


def read(cls: Any, document: dict[str, Any]) -> Any:
    before = copy.deepcopy(document)
    value = from_document(cls, document, where="an old file")
    assert document == before, "reading changes nothing"
    assert from_document(cls, to_document(value), where="a new file") == value
    return value


def test_a_stamp_of_schema_1_has_its_logits_and_supported_runtimes() -> None:
    stamp = read(Stamp, STAMP_1)
    assert stamp.supported_runtimes == (SupportedRuntime(runtime="litert", minimum="2.3.0"),)
    assert stamp.outputs == (LOGITS,)
    assert (stamp.output, stamp.embedding) == (LOGITS, None)
    assert (stamp.preprocessing, stamp.takes_batches) == ("stretch", True)


@pytest.mark.parametrize("position", [0, 1])
def test_a_stamp_of_schema_3_has_its_embedding_at_its_position(position: int) -> None:
    stamp = read(Stamp, {**STAMP_3, "embedding": {**EMBEDDING, "position": position}})
    assert (stamp.output.position, stamp.output.size) == (1 - position, 2)
    assert stamp.embedding == OutputSpec(
        name="embedding",
        role="embedding",
        size=40,
        dtype="int8",
        scale=0.25,
        zero_point=3,
        position=position,
    )


def test_probabilities_of_an_older_stamp_stay_probabilities() -> None:
    output = {"classes": 2, "gives": "probabilities", **INT8}
    assert read(Stamp, {**STAMP_3, "output": output, "embedding": None}).output.gives == (
        "probabilities"
    )


@pytest.mark.parametrize("schema", [1, 2])
def test_a_manifest_of_schema_2_has_its_verdicts_and_outputs(schema: int) -> None:
    artifact = read(Manifest, {**MANIFEST_2, "schema": schema}).artifacts[0]
    assert artifact.verdicts[0].status == "failed"
    assert [each.name for each in artifact.outputs] == ["logits", "embedding"]
    assert artifact.output.position == 1


def test_a_manifest_of_schema_3_keeps_its_statuses() -> None:
    document = copy.deepcopy(MANIFEST_2)
    document["schema"] = 3
    document["artifacts"][0]["verdicts"][0]["status"] = "failed"  # type: ignore[index]
    assert read(Manifest, document).artifacts[0].verdicts[0].status == "failed"
    document["artifacts"][0]["verdicts"][0]["status"] = "wrong"  # type: ignore[index]
    with pytest.raises(SchemaError, match="status must be one of passed"):
        from_document(Manifest, document, where="an old file")


def test_a_manifest_of_schema_4_has_a_keras_source_and_counts_its_images() -> None:
    document = {**to_document(read(Manifest, MANIFEST_2)), "schema": 4}
    del document["source"]
    for verdict in document["artifacts"][0]["verdicts"]:
        del verdict["images"]
    manifest = read(Manifest, document)
    assert manifest.source == "keras"
    assert manifest.artifacts[0].verdicts[0].images == 10


def test_a_job_of_schema_3_wants_its_logits() -> None:
    document = {
        "kind": "job",
        "schema": 3,
        "id": "one",
        "artifact": "int8.tflite",
        "runtime": "litert",
        "images": "images.npy",
        "first": 0,
        "count": None,
        "cells": [{"threads": 1, "batch": 1, "warmup": 0, "invocations": 0}],
        "want": ["logits", "latencies"],
        "arrays": None,
    }
    job = read(Job, document)
    assert (job.want, job.outputs) == (("outputs", "latencies"), ("logits",))


@pytest.mark.parametrize("broken", [{"output": 3}, {"output": None}, {"embedding": []}])
def test_an_older_stamp_that_is_damaged_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="an old file: the document is not a valid stamp"):
        from_document(Stamp, {**STAMP_3, **broken}, where="an old file")


def test_a_plan_of_one_format_is_read() -> None:
    """Until schema 1 each format had a graph with names of its own."""
    document = {
        "kind": "quantization plan",
        "schema": 1,
        "graph": "tflite",
        "weights": [{"layer": "conv", "bits": 8, "scope": "channel"}],
        "activations": [{"tensor": "serving_default_images:0", "low": 0.0, "high": 255.0}],
        "origin": {"calibrator": "min-max", "images": 5, "images_sha256": "s", "seed": 1},
    }
    plan = from_document(QuantizationPlan, document, where="here")
    assert plan.weights == (WeightGrid(layer="conv", bits=8, scope="channel"),)
    assert plan.ranges == {"serving_default_images:0": (0.0, 255.0)}


def test_a_plan_of_schema_2_has_8_bits_and_nothing_in_float() -> None:
    document = {
        "kind": "quantization plan",
        "schema": 2,
        "weights": [{"layer": "conv_1.weight", "bits": 7, "scope": "channel"}],
        "activations": [{"tensor": "image", "low": 0.0, "high": 255.0}],
        "origin": {"calibrator": "min-max", "images": 5, "images_sha256": "s", "seed": 1},
    }
    plan = from_document(QuantizationPlan, document, where="here")
    assert plan.activations[0].bits == 8
    assert plan.is_plain
    assert plan.float_layers == ()


def test_a_manifest_of_schema_6_left_nothing_out() -> None:
    document = {**to_document(read(Manifest, MANIFEST_2)), "schema": 6}
    del document["left_out"]
    for artifact in document["artifacts"]:
        del artifact["steps"], artifact["float_layers"]
    manifest = read(Manifest, document)
    assert manifest.left_out == ()
    assert manifest.artifacts[0].steps == manifest.artifacts[0].float_layers == ()


def test_a_manifest_of_schema_7_was_not_tuned() -> None:
    document = {**to_document(read(Manifest, MANIFEST_2)), "schema": 7}
    del document["tuned"]
    assert read(Manifest, document).tuned == ()


def test_a_manifest_of_schema_8_has_one_choice_and_later_ones_are_kept_by_device() -> None:
    old = {**MANIFEST_2, "recommended": "int8.tflite", "recommended_because": "fast"}
    document = {**to_document(read(Manifest, old)), "schema": 8}
    del document["recommended_on"]
    here = Recommendation(device="local", artifact="int8.tflite", because="fast")
    manifest = read(Manifest, document)
    assert (manifest.recommendation(), manifest.recommendation("pi4")) == (here, None)
    there = Recommendation(device="pi4", artifact="dynamic.tflite", because="faster there")
    both = manifest.recommending(there).recommending(there)
    assert both.recommended_on == (there,)
    assert (both.recommendation(), both.recommendation("pi4")) == (here, there)
    assert dataclasses.replace(both, recommended=None).recommendation() is None


def test_a_stamp_of_schema_4_is_read_and_one_with_means_by_channel_comes_back() -> None:
    spec = {**INPUT, "channels": 3, "mean": 3.5, "std": 2.0}
    kept = {key: value for key, value in STAMP_3.items() if key not in ("output", "embedding")}
    outputs = [to_document(LOGITS)]
    old = {**kept, "schema": 4, "input": spec, "outputs": outputs}
    stamp = from_document(Stamp, old, where="old")
    assert (stamp.input.mean, stamp.input.std, stamp.input.bgr) == (3.5, 2.0, False)
    assert stamp.input.levels == ((3.5, 2.0),)
    means = dataclasses.replace(stamp.input, mean=(1.0, 2.0, 3.0), bgr=True)
    new = dataclasses.replace(stamp, input=means)
    assert means.levels == ((1.0, 2.0), (2.0, 2.0), (3.0, 2.0))
    assert from_document(Stamp, to_listed(new), where="new") == new


def test_a_stamp_of_schema_5_decides_by_its_score() -> None:
    document = {**to_document(read(Stamp, STAMP_3)), "schema": 5}
    del document["distance"]
    stamp = read(Stamp, document)
    assert (stamp.distance, stamp.unknown_threshold) == (None, 0.25)


def to_listed(value: object) -> Any:
    return json.loads(json.dumps(to_document(value)))

"""Diagnosis: what is measured of each layer, and that planted damage is found and repaired."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from click.testing import CliRunner, Result
from graphs import Net
from planted import DAMAGES, Damage, classifier, edited, pictures, quantized

from hemline.cli import cli
from hemline.contract import schema
from hemline.errors import DataError, FileFormatError, HemlineError
from hemline.export.quantization import simulation
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.diagnosis.causes import CAUSES
from hemline.export.quantization.diagnosis.diagnosing import (
    DiagnosisRequest,
    diagnose,
    diagnosis_of,
    measure,
)
from hemline.export.quantization.diagnosis.document import Diagnosis, LayerReport, Loss
from hemline.export.quantization.diagnosis.evidence import Evidence
from hemline.export.quantization.diagnosis.files import FilePair, compare, tap
from hemline.export.quantization.diagnosis.pictures import draw
from hemline.export.quantization.diagnosis.text import as_report
from hemline.export.quantization.quantized import Quantized
from hemline.export.writers.qdq import quantized_onnx
from hemline.files import read_json
from hemline.remedies import REMEDIES, described
from hemline.train.nets.hem import HEM_50K

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return classifier()


@pytest.fixture(scope="module")
def photos() -> tuple[Pixels, Pixels]:
    return pictures(600, seed=2)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return Calibration(images=pictures(200, seed=3)[0], sha256="0" * 64)


@pytest.fixture(scope="module")
def request_(
    model: onnx.ModelProto, photos: tuple[Pixels, Pixels], calibration: Calibration
) -> DiagnosisRequest:
    return DiagnosisRequest(
        quantized=quantized(model, calibration),
        images=photos[0],
        labels=photos[1],
        calibration=calibration,
    )


@pytest.fixture(scope="module")
def evidence(request_: DiagnosisRequest) -> Evidence:
    return measure(request_)


@pytest.fixture(scope="module")
def diagnosis(request_: DiagnosisRequest, evidence: Evidence) -> Diagnosis:
    return diagnosis_of(request_, evidence)


def test_a_layer_is_measured_as_the_definitions_say(
    request_: DiagnosisRequest, diagnosis: Diagnosis
) -> None:
    layer = next(each for each in diagnosis.layers if each.name == "conv_2")
    assert (layer.value, layer.range, layer.weights) == ("relu_2", "relu_2", "conv_2.weight")
    graph = request_.quantized.float_graph
    (found,) = simulation.values(request_.quantized, ["relu_2"], request_.images).values()
    parts = [part["relu_2"] for part in graph.observe(request_.images, ["relu_2"])]
    exact = np.concatenate(parts).astype(np.float64)
    noise = found - exact
    assert layer.sqnr_db == pytest.approx(10 * np.log10(np.mean(exact**2) / np.mean(noise**2)))
    assert layer.bias == pytest.approx(noise.mean() / np.sqrt(np.mean(exact**2)))
    cosine = (found * exact).sum() / np.sqrt((exact**2).sum() * (found.astype(float) ** 2).sum())
    assert layer.cosine == pytest.approx(cosine)
    low, high = request_.quantized.plan.ranges["relu_2"]
    assert layer.range_ratio == pytest.approx((high - low) / exact.max(), rel=0.01)  # half a step
    widest = exact.max(axis=(0, 2, 3))
    assert layer.worst_channels[0].channel == widest.argmax()
    assert layer.worst_channels[0].activation_ratio == pytest.approx(
        widest.max() / np.median(widest)
    )


def test_a_layer_alone_and_all_but_it_add_up_to_the_whole_model(
    evidence: Evidence, diagnosis: Diagnosis
) -> None:
    """A layer that nobody rounds behind or before loses what it loses alone."""
    everything_in_float = replace(
        evidence.quantized,
        plan=replace(
            evidence.quantized.plan,
            weights=tuple(replace(w, bits=32) for w in evidence.quantized.plan.weights),
            activations=tuple(
                replace(a, bits=8 if a.tensor == "image" else 32)
                for a in evidence.quantized.plan.activations
            ),
        ),
    )
    assert evidence.judge.loss(everything_in_float).divergence == pytest.approx(0, abs=1e-9)
    for layer in diagnosis.layers:
        assert layer.alone is not None
        assert layer.without is not None
        assert layer.alone.divergence < diagnosis.loss.divergence
        assert layer.without.divergence < 1.1 * diagnosis.loss.divergence
    order = [each.alone.divergence for each in diagnosis.layers if each.alone]
    assert order == sorted(order, reverse=True)
    assert {each.weights for each in diagnosis.layers} - {None} == {
        g.layer for g in evidence.quantized.plan.weights
    }


def test_a_healthy_model_has_no_cause(diagnosis: Diagnosis) -> None:
    assert diagnosis.causes == ()
    assert diagnosis.float_accuracy is not None
    assert diagnosis.float_accuracy > 0.8


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.name)
def test_planted_damage_is_found_and_its_remedy_measured(
    damage: Damage,
    model: onnx.ModelProto,
    photos: tuple[Pixels, Pixels],
    calibration: Calibration,
) -> None:
    damaged, used = damage.applied(model, calibration.images)
    found = diagnose(
        DiagnosisRequest(quantized=damaged, images=photos[0], labels=photos[1], calibration=used)
    )
    first = found.causes[0]
    assert (first.cause, first.layer) == (damage.cause, damage.layer)
    assert first.remedy in REMEDIES
    if damage.named_only:
        assert first.gain_points is None
    else:
        assert found.loss.points >= damage.points
        assert first.gain_points is not None
        # of 600 images rounding itself changes a few
        assert first.gain_points > found.loss.points - 1.5


def test_a_document_is_read_back_as_it_was(diagnosis: Diagnosis, tmp_path: Path) -> None:
    schema.save(tmp_path / "diagnosis.json", diagnosis)
    assert schema.load(Diagnosis, tmp_path / "diagnosis.json") == diagnosis


def test_the_text_has_a_line_for_every_layer(diagnosis: Diagnosis) -> None:
    text = as_report(diagnosis, REMEDIES)
    assert all(f"\n{layer.name}" in text for layer in diagnosis.layers)
    assert "dead" not in text, "a column without entries is left out"


def _without_labels(request_: DiagnosisRequest) -> Diagnosis:
    return diagnose(replace(request_, labels=None, images=request_.images[:50]))


def test_without_labels_the_labels_of_the_float_model_count(request_: DiagnosisRequest) -> None:
    found = _without_labels(request_)
    assert found.float_accuracy is None
    assert found.loss.drop_points is None
    assert found.loss.points == found.loss.changed_points


def _zero(array: npt.NDArray[np.float32]) -> None:
    array[:] = 0


def _nan(array: npt.NDArray[np.float32]) -> None:
    array[0] = np.nan


@pytest.mark.parametrize(
    ("change", "says"), [(_zero, "the same outputs for all"), (_nan, "not finite")]
)
def test_a_float_model_whose_outputs_say_nothing_is_refused(
    model: onnx.ModelProto,
    request_: DiagnosisRequest,
    change: Callable[[npt.NDArray[np.float32]], None],
    says: str,
) -> None:
    broken = edited(model, dense_2__weight=change)
    graph = quantized(model, Calibration(images=request_.images[:20], sha256="0" * 64))
    changed = replace(graph, float_graph=type(graph.float_graph)(broken))
    with pytest.raises(DataError, match=says):
        diagnose(replace(request_, quantized=changed))


def test_images_of_another_shape_and_none_at_all_are_refused(request_: DiagnosisRequest) -> None:
    with pytest.raises(DataError, match=r"\(8, 8, 3\), the model takes \(12, 12, 3\)"):
        diagnose(replace(request_, images=request_.images[:, :8, :8]))
    with pytest.raises(DataError, match="no images"):
        diagnose(replace(request_, images=request_.images[:0]))


def pair(model: Quantized, images: Pixels, folder: Path) -> FilePair:
    """Return a written file beside its float model."""
    path, graph = folder / "int8.onnx", model.float_graph
    onnx.save(quantized_onnx(model.annotated), path)
    return FilePair(
        file=path,
        layers=path,
        raw=graph.proto,
        inputs=images.astype(np.float32),
        labels=None,
        reference=simulation.float_logits(graph, images),
        subject="int8.onnx",
        source="float.onnx",
        split="validation",
    )


@pytest.mark.slow
def test_a_finished_file_is_compared_with_its_float_model_value_by_value(
    request_: DiagnosisRequest, diagnosis: Diagnosis, tmp_path: Path
) -> None:
    """Its layers have the same noise as in a simulation of the same plan."""
    damaged = next(each for each in DAMAGES if each.name == "wide range").ranges(request_.quantized)
    found = compare(pair(damaged, request_.images[:32], tmp_path))
    assert "the noise enters at relu_2" in found.notes[0]
    assert "× as wide as the images need" in found.notes[0]
    assert found.layers[0].name == "relu_2"
    healthy = compare(pair(request_.quantized, request_.images[:32], tmp_path))
    assert healthy.notes == ()
    simulated = {layer.value: layer for layer in diagnosis.layers}
    outputs = {"logits"}  # the file calls them otherwise before they are rounded
    assert simulated.keys() - outputs <= {layer.value for layer in healthy.layers}
    for layer in (each for each in healthy.layers if each.value in simulated):
        # 32 images instead of 600
        assert layer.sqnr_db == pytest.approx(simulated[layer.value].sqnr_db, abs=1)


def test_a_file_without_common_names_is_compared_by_its_outputs(
    request_: DiagnosisRequest, tmp_path: Path
) -> None:
    whole = pair(request_.quantized, request_.images[:32], tmp_path)
    found = compare(replace(whole, layers=None, raw=None))
    assert found.layers == ()
    assert "only their outputs were compared" in found.notes[0]
    assert found.loss.changed_points < 10


@pytest.mark.medium
def test_a_file_that_computes_a_shape_is_run() -> None:
    """As one does that a converter made of a model of any batch size."""
    net = Net(("N", 3, 12, 12))
    batch = net.op("Gather", net.op("Shape", "x"), net.constant(np.array(0)), axis=0)
    rest = net.op("Div", net.op("Size", "x"), batch)
    kept = [net.op("Unsqueeze", each, net.constant(np.array([0]))) for each in (batch, rest)]
    output = net.op("Reshape", "x", net.op("Concat", *kept, axis=0))
    images = pictures(4, seed=5)[0].astype(np.float32)
    found = tap(net.model(output), images)
    assert "Gather" in found.operators
    assert found.values[-1].shape == (4, 3 * 12 * 12)


def test_a_file_that_does_not_run_is_refused_in_one_line(
    request_: DiagnosisRequest, tmp_path: Path
) -> None:
    broken = pair(request_.quantized, request_.images[:4], tmp_path)
    (tmp_path / "int8.onnx").write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="does not run") as caught:
        compare(broken)
    assert "\n" not in str(caught.value)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["diagnose", *map(str, words)], catch_exceptions=True)


def layer_of(name: str, alone: float, without: float) -> LayerReport:
    lost = [Loss(drop_points=x, changed_points=9.0, divergence=0.1) for x in (alone, without)]
    seen = {"sqnr_db": 30.0, "channel_sqnr_db": 30.0, "cosine": 1.0, "bias": 0.0}
    own: dict[str, Any] = {
        "operator": "Conv",
        "weights": name,
        "value": name,
        "range": name,
        **seen,
    }
    rest: dict[str, Any] = {
        "clipped_share": 0.0,
        "range_ratio": 1.0,
        "weight_sqnr_db": 30.0,
        "dead_channels": 0,
    }
    more: dict[str, Any] = {
        "channel_count": 1,
        "worst_channels": (),
        "alone": lost[0],
        "without": lost[1],
    }
    return LayerReport(name=name, **own, **rest, **more)


@pytest.mark.parametrize(
    ("alone", "whole", "title", "axis"),
    [
        (2.0, 3.0, "What each layer loses in 8 bits: conv_1 most, -2.00 points", "accuracy change"),
        (0.0, 0.0, "What each layer loses in 8 bits: no layer alone changes the accuracy", "SQNR"),
    ],
)
def test_layers_are_drawn_in_points_where_there_are_labels_and_nothing_is_drawn_empty(
    alone: float, whole: float, title: str, axis: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shown: list[Any] = []
    monkeypatch.setattr("hemline.figures.save", lambda figure, _: shown.append(figure))
    found = Diagnosis(
        subject="a", source="b", split="validation", images=41, labelled=True, float_accuracy=0.5,
        loss=Loss(drop_points=whole, changed_points=9.0, divergence=0.1), causes=(),
        layers=(layer_of("conv_1", alone, whole - alone),),
    )  # fmt: skip
    draw(found, None, tmp_path)
    (figure,) = shown
    assert figure.texts[0].get_text() == title
    assert figure.axes[0].get_xlabel().startswith(axis)
    bars = [bar.get_width() for bar in figure.axes[0].patches]
    assert bars == ([-alone, alone] if alone else [30.0])


@pytest.mark.medium
def test_a_file_of_a_bundle_is_diagnosed_by_its_plan(bundle: Path, tmp_path: Path) -> None:
    done = run(bundle / "int8.tflite", "-o", tmp_path / "found", "--json")
    assert done.exit_code == 0, done.output
    document = read_json(tmp_path / "found" / "diagnosis.json")
    assert json.loads(done.stdout) == document
    found = schema.from_document(Diagnosis, document, where="it")
    assert sum(each.weights is not None for each in found.layers) == HEM_50K.convolutions + 1
    assert found.split == "validation"
    assert {each.name for each in (tmp_path / "found").glob("*.png")} == {
        "layers.png",
        "channels.png",
    }


def test_what_cannot_be_diagnosed_is_refused_with_what_to_do(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.tflite"
    file.write_bytes(b"TFL3")
    for words, says in (
        ((file,), "name the float model it was made from with --source"),
        ((bundle / "fp32.tflite",), "has no quantization plan"),
        ((bundle, "--pixels", "0..1"), "omit the import options"),
    ):
        done = run(*words)
        assert done.exit_code != 0
        assert isinstance(done.exception, HemlineError)
        assert says in described(done.exception)


def test_each_cause_has_its_own_name() -> None:
    assert len(CAUSES) == len({row.find for row in CAUSES.values()})

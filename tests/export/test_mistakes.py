"""What labelled images show of a model that is used otherwise than it was trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper
from sklearn.neural_network import MLPClassifier

from hemline.cli import cli
from hemline.export.admission.mistakes import Mistake, Run, suspected_mistakes
from hemline.export.pixel_scale import PixelScale
from hemline.remedies import advice

Pixels = npt.NDArray[np.uint8]
slow = pytest.mark.slow
LABELS = ("red", "blue", "dark red", "dark green", "gray", "dark gray")
COLOURS = np.array(
    [(200, 90, 60), (60, 90, 200), (110, 40, 20), (20, 110, 40), (160, 160, 160), (70, 70, 70)]
)
SIGNED, UNIT, BYTES = (PixelScale.of_range(*ends) for ends in ((-1, 1), (0, 1), (0, 255)))
IMAGENET = PixelScale(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
CENTRED = PixelScale(mean=127.5, std=255.0)


def coloured_images(count: int, seed: int) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Return noisy uint8 images (n, 8, 8, 3) and their classes."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, len(LABELS), count)
    light = random.normal(0, 15, (count, 1, 1, 1)) + random.normal(0, 25, (count, 8, 8, 3))
    return np.asarray((COLOURS[classes][:, None, None] + light).clip(0, 255), np.uint8), classes


@dataclass(frozen=True)
class Trained:
    """A small network of an image's mean colour that was trained on pixels of a scale."""

    scale: PixelScale

    @cached_property
    def layers(self) -> tuple[npt.NDArray[np.float32], ...]:
        """Return the weights: kernel and bias of 16 hidden units and of the logits."""
        images, classes = coloured_images(600, 1)
        size = max(map(abs, self.scale.range))  # so that networks for any range train alike
        network = MLPClassifier(16, solver="lbfgs", alpha=0.01, max_iter=200, random_state=1)
        network.fit(self.scale.values(images).mean(axis=(1, 2)) / size, classes)
        (first, second), (bias, other) = network.coefs_, network.intercepts_
        return tuple(np.asarray(each, np.float32) for each in (first / size, bias, second, other))

    def run(self, images: Pixels, scale: PixelScale) -> npt.NDArray[np.float32]:
        """Return logits, float32 (n, 6), of pixels that go in as `scale`."""
        first, bias, second, other = self.layers
        means = scale.values(images).mean(axis=(1, 2))
        return np.asarray(np.maximum(means @ first + bias, 0) @ second + other, np.float32)

    def save(self, path: Path) -> None:
        """Write the network as ONNX, for images of 8 × 8."""
        names = ("first", "bias", "second", "other")
        nodes = [
            helper.make_node("ReduceMean", ["image"], ["means"], axes=[1, 2], keepdims=0),
            helper.make_node("Gemm", ["means", "first", "bias"], ["sums"]),
            helper.make_node("Relu", ["sums"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", "second", "other"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes,
            "colours",
            [helper.make_tensor_value_info("image", 1, ("n", 8, 8, 3))],
            [helper.make_tensor_value_info("logits", 1, ("n", len(LABELS)))],
            [numpy_helper.from_array(*each) for each in zip(self.layers, names, strict=True)],
        )
        opset = [helper.make_opsetid("", 13)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


@cache
def trained(scale: PixelScale) -> Trained:
    """Return the network of a scale, trained once."""
    return Trained(scale)


def found_with(
    model: Trained, scale: PixelScale, labels: tuple[str, ...] = LABELS
) -> tuple[Mistake, ...]:
    """Return the mistakes in using a model with a scale and labels."""
    images, classes = coloured_images(400, 2)
    known = np.array([labels.index(LABELS[at]) for at in classes])
    return suspected_mistakes(model.run, images, known, labels, scale=scale, gives="logits")


@pytest.mark.parametrize(
    "scale", [UNIT, *(pytest.param(each, marks=slow) for each in (SIGNED, BYTES, IMAGENET))]
)
def test_a_model_that_is_used_as_it_was_trained_is_not_suspected(scale: PixelScale) -> None:
    assert found_with(trained(scale), scale) == ()


def test_blue_before_red_is_found() -> None:
    found = found_with(trained(UNIT), PixelScale(mean=0.0, std=255.0, bgr=True))[0]
    assert (found.kind, found.scale) == ("channel order", UNIT)
    assert found.repaired > 0.9 * found.images > found.correct
    assert advice(found.remedy) == "specify --channel-order rgb"
    assert "channels in the order red, green and blue" in found.message


@pytest.mark.parametrize(
    ("trained_on", "used"),
    [
        (SIGNED, UNIT),
        (UNIT, BYTES),
        *(
            pytest.param(*pair, marks=slow)
            for pair in ((UNIT, SIGNED), (BYTES, UNIT), (IMAGENET, UNIT))
        ),
    ],
)
def test_another_range_of_pixels_is_found(trained_on: PixelScale, used: PixelScale) -> None:
    found = found_with(trained(trained_on), used)[0]
    assert found.kind == "pixels"
    assert found.repaired > 0.9 * found.images > found.correct + 0.1 * found.images
    assert found.scale is not None
    assert found.scale.range == pytest.approx(trained_on.range, abs=0.15)
    shown = {UNIT: "--pixels 0..1", BYTES: "--pixels 0..255"}.get(trained_on, "--mean")
    assert shown in advice(found.remedy) or "--pixels -1..1" in advice(found.remedy)


@slow
def test_a_wrong_mean_is_found() -> None:
    found = found_with(trained(CENTRED), PixelScale(mean=30.0, std=255.0))[0]
    assert found.kind == "pixels"
    assert found.repaired > 0.9 * found.images
    assert found.scale is not None
    assert found.scale.mean == pytest.approx(127.5, abs=20)


def test_labels_sorted_otherwise_are_found() -> None:
    found = found_with(trained(UNIT), UNIT, tuple(sorted(LABELS)))[0]
    assert found.kind == "label order"
    assert tuple(sorted(LABELS)[at] for at in found.order) == LABELS
    assert found.repaired > 0.9 * found.images > found.correct
    assert advice(found.remedy) == f"specify --labels '{','.join(LABELS)}'"


def weak(model: Trained, noise: float) -> Run:
    """Return a model that classifies many images wrong, whatever their pixel range is."""

    def run(images: Pixels, scale: PixelScale) -> npt.NDArray[np.float32]:
        spread = np.random.default_rng(4).normal(0, noise, (len(images), len(LABELS)))
        return softmax(model.run(images, scale)) + spread.astype(np.float32)

    return run


@pytest.mark.parametrize(
    ("used", "order", "advised"),
    [
        (BYTES, LABELS, "specify --pixels 0..1"),
        (UNIT, LABELS[::-1], f"specify --labels '{','.join(LABELS)}'"),
        (BYTES, LABELS[::-1], f"specify --pixels 0..1 --labels '{','.join(LABELS)}'"),
    ],
)
def test_mistakes_with_a_weak_model_and_few_images_are_found(
    used: PixelScale, order: tuple[str, ...], advised: str
) -> None:
    images, classes = coloured_images(120, 2)
    run = weak(trained(UNIT), 0.8)
    known = np.array([order.index(LABELS[at]) for at in classes])
    found = suspected_mistakes(run, images, known, order, scale=used, gives="logits")
    assert 0.4 < found[0].repaired / 120 < 0.7
    assert found[0].certain
    assert advice(found[0].remedy) == advised


def test_a_weak_model_that_is_used_correctly_is_not_suspected() -> None:
    images, classes = coloured_images(120, 2)
    run = weak(trained(UNIT), 0.8)
    assert suspected_mistakes(run, images, classes, LABELS, scale=UNIT, gives="logits") == ()


def test_a_wrong_order_is_found_where_every_second_image_is_of_one_class() -> None:
    images, classes = coloured_images(400, 2)
    pairs = zip(np.flatnonzero(classes == 4), np.flatnonzero(classes == 5), strict=False)
    chosen = np.array(list(pairs)).ravel()
    order = (*LABELS[:4], LABELS[5], LABELS[4])
    known = 9 - classes[chosen]
    run = trained(UNIT).run
    found = suspected_mistakes(run, images[chosen], known, order, scale=UNIT, gives="logits")
    assert found[0].order == (0, 1, 2, 3, 5, 4)


def softmax(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("softmaxes", [1, 2])
def test_a_softmax_of_probabilities_is_found_and_a_single_one_is_not(softmaxes: int) -> None:
    model, (images, classes) = trained(UNIT), coloured_images(400, 2)

    def run(pixels: Pixels, scale: PixelScale) -> npt.NDArray[np.float32]:
        outputs = model.run(pixels, scale)
        for _ in range(softmaxes):
            outputs = softmax(outputs)
        return outputs

    found = suspected_mistakes(run, images, classes, LABELS, scale=UNIT, gives="probabilities")
    assert [each.kind for each in found] == ["softmax twice"][: softmaxes - 1]
    found = suspected_mistakes(run, images, classes, LABELS, scale=UNIT, gives="logits")
    assert [each.kind for each in found] == ["kind of output"]
    assert advice(found[0].remedy) == "specify --output probabilities"


def test_a_model_that_guesses_is_not_suspected() -> None:
    images, classes = coloured_images(400, 2)
    random = np.random.default_rng(3)

    def run(pixels: Pixels, _: PixelScale) -> npt.NDArray[np.float32]:
        return softmax(random.normal(0, 0.1, (len(pixels), len(LABELS))).astype(np.float32))

    assert suspected_mistakes(run, images, classes, LABELS, scale=UNIT, gives="probabilities") == ()
    assert suspected_mistakes(run, images[:9], classes, LABELS, scale=UNIT, gives="logits") == ()


@pytest.mark.medium
def test_verify_reports_a_mistake_and_accepts_its_remedy(tmp_path: Path) -> None:
    trained(IMAGENET).save(tmp_path / "model.onnx")
    images, classes = coloured_images(200, 2)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "classes.npy", classes)

    def verified(out: str, *words: str) -> Any:
        line = ["verify", str(tmp_path / "model.onnx"), "--labels", ",".join(LABELS), "--json"]
        line += ["-o", str(tmp_path / out), *words]
        return json.loads(CliRunner().invoke(cli, line, catch_exceptions=False).stdout)

    samples = [
        "--images",
        str(tmp_path / "images.npy"),
        "--expected",
        str(tmp_path / "classes.npy"),
    ]
    mistaken = verified("a.onnx", "--pixels", "0..1", *samples)
    assert [each["kind"] for each in mistaken["mistakes"]][:1] == ["pixels"]
    assert mistaken["unconfirmed"] == []
    scale = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
    correct = verified("b.onnx", *scale, *samples)
    assert correct["mistakes"] == []
    assert correct["runtimes"][0]["correct"] > 190
    assert correct["stamp"]["input"]["mean"] == pytest.approx(IMAGENET.mean)
    assert CliRunner().invoke(cli, ["verify", str(tmp_path / "b.onnx")]).exit_code == 0
    assert verified("c.onnx", *scale)["unconfirmed"] == [
        "pixel range -2.118 … 2.64, as specified",
        "channel order rgb, the default",
        "label order, as specified",
    ]

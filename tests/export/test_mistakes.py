"""What labelled images show of a model that is used otherwise than it was trained."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.export.admission.mistakes import Mistake, suspected_mistakes
from hemline.export.admission.specs import PixelScale
from hemline.remedies import advice

Pixels = npt.NDArray[np.uint8]
slow = pytest.mark.slow
LABELS = ("red", "blue", "dark red", "dark blue", "gray", "dark gray")
COLOURS = np.array(
    [(200, 90, 60), (60, 90, 200), (110, 40, 20), (20, 40, 110), (160, 160, 160), (70, 70, 70)]
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
    """A trained network: float32 values of `scale` in, logits out."""

    network: Any
    scale: PixelScale

    def run(self, images: Pixels, scale: PixelScale) -> npt.NDArray[np.float32]:
        """Return logits, float32 (n, 6)."""
        return np.asarray(self.network.predict(scale.values(images), verbose=0), np.float32)


@pytest.fixture(scope="module")
def trained() -> Callable[[PixelScale], Trained]:
    """Return a function that trains a small network on pixels of a scale, once each."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from hemline.train.tensorflow import quiet_keras

    keras = quiet_keras()
    known: dict[PixelScale, Trained] = {}

    def train(scale: PixelScale) -> Trained:
        if scale not in known:
            keras.utils.set_random_seed(1)
            layers = keras.layers
            network = keras.Sequential(
                [
                    keras.Input((8, 8, 3)),
                    # so that networks for any range train alike
                    layers.Rescaling(1 / max(map(abs, scale.range))),
                    layers.Conv2D(16, 3, activation="relu"),
                    layers.GlobalAveragePooling2D(),
                    layers.Dense(32, activation="relu"),
                    layers.Dense(len(LABELS)),
                ]
            )
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            network.compile(keras.optimizers.Adam(0.01), loss)
            images, classes = coloured_images(1200, 1)
            network.fit(scale.values(images), classes, epochs=15, batch_size=64, verbose=0)
            known[scale] = Trained(network, scale)
        return known[scale]

    return train


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
def test_a_model_that_is_used_as_it_was_trained_is_not_suspected(
    scale: PixelScale, trained: Callable[[PixelScale], Trained]
) -> None:
    assert found_with(trained(scale), scale) == ()


def test_blue_before_red_is_found(trained: Callable[[PixelScale], Trained]) -> None:
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
def test_another_range_of_pixels_is_found(
    trained_on: PixelScale, used: PixelScale, trained: Callable[[PixelScale], Trained]
) -> None:
    found = found_with(trained(trained_on), used)[0]
    assert found.kind == "pixels"
    assert found.repaired > 0.9 * found.images > found.correct + 0.1 * found.images
    assert found.scale is not None
    assert found.scale.range == pytest.approx(trained_on.range, abs=0.15)
    assert "--mean" in advice(found.remedy)


@slow
def test_a_wrong_mean_is_found(trained: Callable[[PixelScale], Trained]) -> None:
    found = found_with(trained(CENTRED), PixelScale(mean=30.0, std=255.0))[0]
    assert found.kind == "pixels"
    assert found.repaired > 0.9 * found.images
    assert found.scale is not None
    assert found.scale.mean == pytest.approx(127.5, abs=20)


def test_labels_sorted_otherwise_are_found(trained: Callable[[PixelScale], Trained]) -> None:
    found = found_with(trained(UNIT), UNIT, tuple(sorted(LABELS)))[0]
    assert found.kind == "label order"
    assert tuple(sorted(LABELS)[at] for at in found.order) == LABELS
    assert found.repaired > 0.9 * found.images > found.correct
    assert advice(found.remedy) == f"specify --labels '{','.join(LABELS)}'"


def softmax(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("softmaxes", [1, 2])
def test_a_softmax_of_probabilities_is_found_and_a_single_one_is_not(
    softmaxes: int, trained: Callable[[PixelScale], Trained]
) -> None:
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


def test_verify_reports_a_mistake_and_accepts_its_remedy(
    trained: Callable[[PixelScale], Trained], tmp_path: Path
) -> None:
    import tensorflow as tf

    trained(IMAGENET).network.export(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    (tmp_path / "model.tflite").write_bytes(converter.convert())
    images, classes = coloured_images(200, 2)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "classes.npy", classes)

    def verified(out: str, *words: str) -> Any:
        line = ["verify", str(tmp_path / "model.tflite"), "--labels", ",".join(LABELS), "--json"]
        line += ["-o", str(tmp_path / out), *words]
        return json.loads(CliRunner().invoke(cli, line, catch_exceptions=False).stdout)

    samples = [
        "--images",
        str(tmp_path / "images.npy"),
        "--expected",
        str(tmp_path / "classes.npy"),
    ]
    mistaken = verified("a.tflite", "--pixels", "0..1", *samples)
    assert [each["kind"] for each in mistaken["mistakes"]][:1] == ["pixels"]
    assert mistaken["unconfirmed"] == []
    scale = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
    correct = verified("b.tflite", *scale, *samples)
    assert correct["mistakes"] == []
    assert correct["runtimes"][0]["correct"] > 190
    assert correct["stamp"]["input"]["mean"] == pytest.approx(IMAGENET.mean)
    assert CliRunner().invoke(cli, ["verify", str(tmp_path / "b.tflite")]).exit_code == 0
    assert verified("c.tflite", *scale)["unconfirmed"] == [
        "pixel range -2.118 … 2.64, as specified",
        "channel order rgb, the usual",
        "order of the labels, as specified",
    ]

"""A small real data set, a small trained checkpoint and its bundle, made once a session."""

from __future__ import annotations

import logging
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings
from made_once import made_once
from required import required

from hemline.contract.card import Card
from hemline.contract.manifest import Manifest
from hemline.data.datasets import DATASETS, Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.host import cores

Pixels = npt.NDArray[np.uint8]
TRAIN, TEST = 800, 200

# a test that fails because the machine was busy for a moment tells nothing
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

LIGHT = ("spine", "faults")  # folders of tests that take a moment each
# what one worker needs that trains a network in TensorFlow
WORKER_BYTES = 3 * 1024**3


def pytest_configure() -> None:
    """Let the children of the tests be interrupted, though a shell's & makes all ignore that."""
    required()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count what needs a part of its own among the tests of devices; run the light tests last.

    Then the workers end at about the same time.
    """
    items.sort(key=lambda item: any(part in LIGHT for part in item.path.parts))
    for item in items:
        if any(item.get_closest_marker(kind) for kind in ("browser", "cross", "ray", "peers")):
            item.add_marker("devices")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return what `-n auto` starts: a worker for each core, as far as the memory goes."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(cores(), memory // WORKER_BYTES))


def idx_bytes(array: Pixels) -> bytes:
    """Return the IDX form of a uint8 array."""
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def striped_images(count: int, seed: int) -> tuple[Pixels, Pixels]:
    """Return images (count, 28, 28) whose class is the row of a bright bar, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.uint8) % 10
    random.shuffle(labels)
    images = random.integers(0, 90, (count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * label : 5 + 2 * label, 4:24] = random.integers(160, 256)
    return images, labels


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with four IDX files in the form of Fashion-MNIST."""
    folder = tmp_path_factory.mktemp("data")
    train, test = striped_images(TRAIN, seed=1), striped_images(TEST, seed=2)
    arrays = {
        "train_images": train[0],
        "train_labels": train[1],
        "test_images": test[0],
        "test_labels": test[1],
    }
    for file in DATASETS["fashion-mnist"].files:
        (folder / file.name).write_bytes(idx_bytes(arrays[file.role]))
    return folder


@pytest.fixture(scope="session")
def images(data_folder: Path) -> Images:
    """Return the small data set."""
    return load_images("fashion-mnist", FetchOptions(folder=data_folder))


@pytest.fixture(scope="session")
def train_checkpoint(images: Images) -> Callable[..., Card]:
    """Return a function that trains a model (hem-50k) on the small data set into a folder."""

    def run(folder: Path, **changes: object) -> Card:
        from hemline.train.tensorflow import quiet_keras

        quiet_keras()
        from hemline.train.nets.models import MODELS
        from hemline.train.recipes.recipe import Recipe
        from hemline.train.request import TrainRequest
        from hemline.train.training import train

        stop_after, model = changes.pop("stop_after", None), changes.pop("model", "hem-50k")
        seed = changes.pop("seed", 1)
        fields = {"epochs": 3, "batch": 50, "validation": 100, "precision": "float32", **changes}

        def on_epoch(epoch: object, _: int) -> None:
            if getattr(epoch, "epoch", None) == stop_after:
                raise KeyboardInterrupt

        request = TrainRequest(
            model=MODELS[str(model)],
            recipe=Recipe(**fields),  # type: ignore[arg-type]
            recipe_name="test",
            seed=int(str(seed)),
            folder=folder,
        )
        return train(request, images, on_epoch=on_epoch)

    return run


@pytest.fixture(scope="session")
def checkpoint(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    train_checkpoint: Callable[..., Card],
) -> Path:
    """Return the folder of a checkpoint that knows the small data set."""

    def make(folder: Path) -> None:
        train_checkpoint(folder, epochs=8)

    return made_once(pytestconfig, "checkpoint", make, tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def bundle(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Path,
    images: Images,
) -> Path:
    """Return a verified bundle of every scheme; tests that change it must copy it."""

    def make(folder: Path) -> None:
        from hemline.export.verification import verify_bundle

        verify_bundle(folder, export_every_scheme(checkpoint, folder, images))

    return made_once(pytestconfig, "bundle", make, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def manifest(bundle: Path) -> Manifest:
    """Return the bundle's manifest."""
    from hemline.contract.manifest import read_manifest

    return read_manifest(bundle)


@pytest.fixture(scope="session")
def embedding_bundle(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Path,
    images: Images,
) -> Path:
    """Return a bundle of every scheme, exported with embedding; not verified."""

    def make(folder: Path) -> None:
        export_every_scheme(checkpoint, folder, images, embedding=True)

    return made_once(pytestconfig, "embedding", make, tmp_path_factory.mktemp("embedding"))


def export_every_scheme(
    checkpoint: Path, folder: Path, images: Images, *, embedding: bool = False
) -> Manifest:
    """Export the small checkpoint in every scheme into a folder."""
    from hemline.export.bundle import ExportRequest, export_bundle
    from hemline.export.quantization.options import PostTrainingOptions, QuantizationOptions
    from hemline.export.schemes import find_schemes

    request = ExportRequest(
        checkpoint=checkpoint,
        bundle=folder,
        schemes=find_schemes(()),
        options=QuantizationOptions(post_training=PostTrainingOptions(images=100)),
        embedding=embedding,
    )
    return export_bundle(request, images)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Draw the same random weights in every run, also in the fixtures that a test is first to use.

    Keras begins with another seed in each process, so that a rare net would fail a test at random.
    """
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(5)


@pytest.fixture(autouse=True)
def _usual_log_level() -> None:
    """Undo what a command with --quiet or --verbose left in this process."""
    logging.getLogger("hemline").setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _no_user_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep tests away from the user's cache, devices and data folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HEMLINE_DATA", raising=False)

"""`hemline classify` of folders and as CSV, and without the name of the only bundle."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemline.contract.stamp import read_stamped, stamp_tflite
from hemline.runtime.classifier import Classifier
from hemline.runtime.command_line import main
from hemline.runtime.input.image_folder import image_files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with images in it and below, and files that are none."""
    folder = tmp_path / "photos"
    for at, name in enumerate(("b/2.PNG", "b/.hidden.png", "a.png", ".thumbs/1.png", "b/1.npy")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((28, 28), 50 * at, np.uint8)
        np.save(path, pixels) if path.suffix == ".npy" else Image.fromarray(pixels).save(path)
    (folder / "notes.txt").write_text("none")
    (folder / "a.dng").write_text("the camera's raw file of a.png")
    return folder


def test_a_folder_is_its_visible_images_in_order(photos: Path) -> None:
    names = [f"{photos}/{name}" for name in ("a.png", "b/1.npy", "b/2.PNG")]
    assert list(image_files([str(photos), "other.bin"])) == [*names, "other.bin"]


def test_a_photograph_that_cannot_be_read_is_not_left_out_silently(photos: Path) -> None:
    (photos / "c.heic").touch()
    assert f"{photos}/c.heic" in list(image_files([str(photos)]))


def test_a_folder_without_images_is_an_error_and_stops_no_other(
    bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code = main(["classify", str(bundle / "int8.tflite"), str(tmp_path / "empty"), str(photos)])
    ended = capsys.readouterr()
    assert code == 1
    assert ended.err.startswith(f"error: {tmp_path}/empty has no images in it or below")
    assert len(ended.out.splitlines()) == len(list(image_files([str(photos)])))


def test_csv_has_the_score_of_every_class(
    bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bundle / "int8.tflite"
    (photos / "b" / "broken.png").write_bytes(b"\x89PNG")
    assert main(["classify", str(file), str(photos), "--csv"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith(f"error: {photos}/b/broken.png")
    header, *rows = csv.reader(told.out.splitlines())
    labels = read_stamped(file).stamp.labels
    assert header == ["image", "label", "best", "score", "known", *labels]
    assert [row[0] for row in rows] == [f"{photos}/{x}" for x in ("a.png", "b/1.npy", "b/2.PNG")]
    with Classifier.load(file) as classifier:
        for row in rows:
            scores = classifier.classify(row[0]).scores
            # six digits behind the point
            assert np.abs(np.asarray(row[5:], float) - scores).max() <= 0.5e-6 + 1e-9
            assert float(row[3]) == max(map(float, row[5:]))
            assert row[2] == labels[int(np.argmax(scores))]


def test_csv_of_class_folders_has_the_true_class_and_of_an_unknown_image_the_best_one(
    bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b").rename(photos / "Bag")  # a class of the model
    found, file = read_stamped(bundle / "fp32.tflite"), tmp_path / "strict.tflite"
    stamp = replace(found.stamp, unknown_threshold=1.0)
    file.write_bytes(stamp_tflite(found.model, stamp))
    assert main(["classify", str(file), str(photos), "--csv"]) == 0
    told = capsys.readouterr()
    header, *rows = csv.reader(told.out.splitlines())
    assert header[:7] == ["image", "true", "label", "best", "score", "known", "T-shirt/top"]
    assert [row[1] for row in rows] == ["Bag", "Bag", ""], "a.png is in no class folder"
    assert {(row[2], row[5]) for row in rows} == {("unknown", "false")}
    for row in rows:
        assert row[3] == header[6:][int(np.argmax(np.asarray(row[6:], float)))]
    assert told.err.startswith("note: the column true is the name of each image's folder; images")
    assert main(["classify", str(file), str(photos), "-q"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [("--json",), ("--watch", ".")])
def test_csv_is_for_files_and_not_for_json(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    images = [] if "--watch" in words else ["a.png"]
    assert main(["classify", "int8.tflite", *images, "--csv", *words]) == 2
    assert capsys.readouterr().err.startswith("error: --csv is for image files and folders")


def test_the_only_bundle_needs_no_name(
    bundle: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(bundle, tmp_path / "artifacts" / "mine")
    monkeypatch.chdir(tmp_path)
    assert main(["classify", "photos"]) == 0
    told = capsys.readouterr()
    assert told.err == "bundle: artifacts/mine\n"
    assert [line.partition(":")[0] for line in told.out.splitlines()] == [
        *("photos/a.png", "photos/b/1.npy", "photos/b/2.PNG"),
    ]
    assert main(["classify", f"{photos}/a.png", "-q"]) == 0
    assert main(["selftest", "-q"]) == 0
    assert capsys.readouterr().err == ""
    shutil.copytree(bundle, tmp_path / "artifacts" / "other")
    assert main(["classify", "photos"]) == 2
    assert "name one of: artifacts/mine, artifacts/other" in capsys.readouterr().err

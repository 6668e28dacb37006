"""Files and folders that may not be read or written end with one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.mark.medium
def test_an_artifact_without_permission_is_told(powerless, copy: Path) -> None:
    (copy / "int8.onnx").chmod(0)
    for line in (("bench", copy), ("verify", copy)):
        ended = powerless.run("-q", *line)
        assert "int8.onnx: permission denied" in ended.error
        assert ended.code == 1
    assert "int8.onnx: permission denied" in powerless.run("inspect", copy / "int8.onnx").error


@pytest.mark.parametrize(
    "name", ["card.json", pytest.param("checkpoint.keras", marks=pytest.mark.slow)]
)
def test_a_checkpoint_without_permission_is_told(
    powerless, checkpoint_copy: Path, data_folder: Path, name: str
) -> None:
    (checkpoint_copy / name).chmod(0)
    ended = powerless.run(
        "-q", "export", "--checkpoint", checkpoint_copy, "-o", "new", "--data", data_folder
    )
    assert f"{name}: permission denied" in ended.error
    assert ended.code == 1


TRAIN = pytest.param("train --data {data} -o {closed}/below", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "line",
    [
        "export --checkpoint {checkpoint} --data {data} -o {closed}",
        "export --checkpoint {checkpoint} --data {data} -o {closed}/below",
        "bench {closed}",
        TRAIN,
    ],
)
@pytest.mark.parametrize("mode", [0o555, pytest.param(0o000, marks=pytest.mark.slow)])
def test_an_output_folder_without_permission_is_told(
    powerless, checkpoint: Path, bundle: Path, data_folder: Path, mode: int, line: str
) -> None:
    closed = powerless.folder / "closed"
    shutil.copytree(bundle, closed)
    (closed / ".lock").unlink(missing_ok=True)
    closed.chmod(mode)
    names = {"checkpoint": checkpoint, "data": data_folder, "closed": closed}
    ended = powerless.run("-q", *line.format(**names).split())
    assert "permission denied" in ended.error or "is not readable" in ended.error
    assert str(closed) in ended.error
    assert ended.code in (1, 2)
    closed.chmod(0o755)


def test_a_data_folder_without_permission_is_told(powerless, data_folder: Path) -> None:
    closed = Path(shutil.copytree(data_folder, powerless.folder / "data"))
    closed.chmod(0)
    ended = powerless.run("-q", "data", "check", "--data", closed)
    closed.chmod(0o755)
    assert "permission denied" in ended.error or "is not readable" in ended.error
    assert ended.code in (1, 2)
    (closed / "train-images-idx3-ubyte").chmod(0)
    ended = powerless.run("-q", "data", "check", "--data", closed)
    assert "train-images-idx3-ubyte: permission denied" in ended.error
    assert ended.code == 1


def test_a_data_folder_that_is_read_only_is_read(powerless) -> None:
    pictures = powerless.folder / "pictures"
    for label in ("a", "b"):
        (pictures / label).mkdir(parents=True)
        for at in range(10):
            gray = np.full((8, 8), 20 * at + ord(label) % 16, np.uint8)
            Image.fromarray(gray).save(pictures / label / f"{at}.png")
    before = sorted(pictures.rglob("*"))
    for folder in (pictures / "a", pictures / "b", pictures):
        folder.chmod(0o555)
    ended = powerless.run("data", "check", "--data", pictures)
    assert ended.code == 0, ended.errors
    assert not any("cached" in line for line in ended.errors)
    assert sorted(pictures.rglob("*")) == before
    for folder in (pictures, pictures / "a", pictures / "b"):
        folder.chmod(0o755)


@pytest.mark.medium
def test_an_output_that_is_a_file_is_told(hemline, checkpoint: Path, data_folder: Path) -> None:
    (hemline.folder / "file").write_text("mine")
    export = ("export", "--checkpoint", checkpoint, "--data", data_folder)
    train = ("train", "--data", data_folder)
    for line in (export, train):
        ended = hemline.run(*line, "-o", "file")
        assert "'file' is a file" in ended.error
        assert ended.code == 2
    ended = hemline.run("-q", *export, "-o", "file/below")
    assert "file/below: not a directory" in ended.error
    assert ended.code == 1
    assert (hemline.folder / "file").read_text() == "mine"


def test_an_image_without_permission_stops_no_other(
    powerless, bundle: Path, images, tmp_path: Path
) -> None:
    from PIL import Image

    for name in ("closed.png", "good.png"):
        Image.fromarray(images.test_images[0, :, :, 0]).save(tmp_path / name)
    (tmp_path / "closed.png").chmod(0)
    ended = powerless.run("classify", bundle / "int8.onnx", "closed.png", "good.png")
    assert "closed.png: permission denied" in ended.error
    assert len(ended.output.splitlines()) == 1
    assert ended.code == 1


@pytest.mark.slow
def test_no_room_for_temporary_files_is_told(
    hemline, checkpoint: Path, data_folder: Path, small_disk: Callable[[int], Path]
) -> None:
    hemline.environment["TMPDIR"] = str(small_disk(4))
    hemline.run("true", command=("true",))
    line = ("-q", "export", "--checkpoint", checkpoint, "--data", data_folder, "-o", "made")
    ended = hemline.run(*line, "--calibration", "60")
    assert ended.code == 1
    assert ended.error
    hemline.environment.clear()
    assert hemline.run(*line, "--calibration", "60").code == 0

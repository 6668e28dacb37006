"""What a monitor counts reaches its folder once, whoever writes there and whenever it is killed."""

from __future__ import annotations

import io
import itertools
import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemline.contract import schema
from hemline.contract.class_distance import ClassDistance, Int8Rows
from hemline.contract.monitoring import Counts, Reference
from hemline.contract.specs import InputSpec, OutputSpec
from hemline.contract.stamp import Stamp, read_stamped
from hemline.data.datasets import Images
from hemline.errors import HemlineError, SchemaError, UsageError
from hemline.remedies import described
from hemline.runtime import monitoring
from hemline.runtime.command_line import main
from hemline.runtime.decoder import Decoder, Prediction
from hemline.runtime.monitoring import Monitor, _png
from hemline.runtime.unknown import Distances

REFERENCE = Reference(counts=Counts(labels=(6, 3, 1), scores=(2, 3, 5)), score_edges=(0.6, 0.9))
STAMP = Stamp(
    name="int8.tflite",
    scheme="int8",
    format="tflite",
    model="m",
    labels=("a", "b"),
    input=InputSpec(height=2, width=2, channels=1, dtype="int8"),
    outputs=(OutputSpec(size=2, dtype="float32"),),
    supported_runtimes=(),
    unknown_threshold=0.55,
    parent_sha256="p",
    payload_sha256="0" * 64,
    reference=REFERENCE,
)
DECODER = Decoder(STAMP.output, STAMP.labels, unknown_threshold=STAMP.unknown_threshold)
GRAY = np.full((2, 2, 1), 7, np.uint8)


def predicted(*logits: float) -> Prediction:
    return DECODER.decode(np.array(logits, np.float32))


SURE, UNSURE, UNKNOWN = predicted(5, 0), predicted(0, 0.8), predicted(0.1, 0)


def windows(folder: Path) -> list[Counts]:
    return [schema.load(Counts, path) for path in sorted(folder.glob("*/windows/[0-9]*.json"))]


def hours(folder: Path) -> list[str]:
    return [path.stem for path in sorted(folder.glob("*/windows/[0-9]*.json"))]


def test_predictions_are_counted_by_label_and_score_in_windows_of_an_hour(tmp_path: Path) -> None:
    clock = iter([0.0, 3599.9, 3600.0])
    with Monitor(tmp_path, STAMP, clock=lambda: next(clock)) as monitor:
        monitor.add([SURE, UNSURE], [GRAY] * 2)
        monitor.add([UNKNOWN], [GRAY])
        monitor.add([predicted(np.nan, np.nan)], [GRAY])
    first, second = windows(tmp_path)
    assert first == Counts(labels=(1, 1, 1), scores=(1, 1, 1))
    assert second.scores == (1, 0, 0)
    assert hours(tmp_path) == ["1970-01-01T00", "1970-01-01T01"]
    assert not list(tmp_path.glob("*/unsure"))
    assert schema.load(Stamp, tmp_path / "int8.tflite-00000000" / "artifact.json") == STAMP


def test_distances_are_counted_of_a_file_that_has_them(tmp_path: Path) -> None:
    counts = replace(REFERENCE.counts, distances=(5, 3, 2))
    reference = replace(REFERENCE, counts=counts, distance_edges=(1.0, 3.0))
    stamp = replace(STAMP, reference=reference)
    measured = ClassDistance(  # both classes are at 0
        threshold=2.0,
        mean=Int8Rows.of(np.zeros((1, 1))),
        directions=Int8Rows.of(np.ones((1, 1))),
        variances=(1.0,),
        centers=Int8Rows.of(np.zeros((1, 2))),
        rest=0.0,
    )
    spec = OutputSpec(name="embedding", role="embedding", size=1, dtype="float32", position=1)
    decoder = Decoder(STAMP.output, STAMP.labels, distances=Distances(measured, spec))
    rows, away = np.array([[5, 0]] * 3, np.float32), np.array([[0.5], [-1.5], [4]], np.float32)
    with Monitor(tmp_path, stamp, keep_unsure=1) as monitor:
        monitor.add(decoder.decode_batch(rows, away), [GRAY, GRAY, GRAY + 1])
    (window,) = windows(tmp_path)
    assert (window.labels, window.distances) == ((2, 0, 1), (1, 1, 1))
    (kept,) = tmp_path.glob("*/unsure/*.png")
    assert kept.name.startswith("0.200000-")


def _add_and_save(folder: Path, times: int) -> None:
    with Monitor(folder, STAMP, clock=lambda: 0.0, keep_unsure=3) as monitor:
        for _ in range(times):
            monitor.add([SURE, UNSURE], [GRAY] * 2)
            monitor.save()


def test_several_processes_count_into_one_window(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    each = [fork.Process(target=_add_and_save, args=(tmp_path, 2)) for _ in range(4)]
    for process in each:
        process.start()
    for process in each:
        process.join()
    (window,) = windows(tmp_path)
    assert window.labels == (8, 8, 0)


@pytest.mark.medium
def test_a_killed_process_leaves_whole_files(tmp_path: Path) -> None:
    fork, seen = multiprocessing.get_context("fork"), 0
    for _ in range(20):
        process = fork.Process(target=_add_and_save, args=(tmp_path, 10**6))
        process.start()
        time.sleep(0.1)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        counted = sum(window.images for window in windows(tmp_path))
        assert counted >= seen
        seen = counted
    assert seen > 0
    _add_and_save(tmp_path, 1)
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


def test_what_cannot_be_saved_is_logged_once_a_minute_and_saved_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "_SAVE_SECONDS", 0.0)
    monitor = Monitor(tmp_path, STAMP, clock=lambda: 0.0, keep_unsure=2)
    folder = monitor.folder / "windows"
    folder.write_text("in the way")
    monitor.add([SURE], [GRAY])
    with caplog.at_level(logging.WARNING):
        monitor.save_when_due()
    assert "cannot write" in caplog.text
    with pytest.raises(HemlineError, match="cannot write"):
        monitor.close()
    folder.unlink()
    (monitor.folder / "unsure").mkdir()
    (monitor.folder / "unsure" / "2026-11.png").write_text("somebody's own")
    monitor.add([UNSURE], [GRAY])
    monitor.close()
    assert windows(tmp_path)[0].labels == (1, 1, 0)
    names = sorted(path.name[:4] for path in (monitor.folder / "unsure").iterdir())
    assert names == ["0.68", "0.99", "2026"]


@pytest.mark.parametrize("content", ["", "{", '{"kind": "prediction counts", "schema": 1}'])
def test_a_damaged_window_begins_again_with_a_warning(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    _add_and_save(tmp_path, 1)
    (path,) = tmp_path.glob("*/windows/[0-9]*.json")
    path.write_text(content)
    _add_and_save(tmp_path, 1)
    assert "is damaged" in caplog.text
    assert windows(tmp_path)[0].labels == (1, 1, 0)


def test_only_the_latest_windows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "MOST_WINDOWS", 3)
    ticks = itertools.count()
    with Monitor(tmp_path, STAMP, clock=lambda: 3600.0 * next(ticks)) as monitor:
        for _ in range(5):
            monitor.add([SURE], [GRAY])
    assert [each[-2:] for each in hours(tmp_path)] == ["02", "03", "04"]


def test_the_least_certain_images_are_kept_over_several_runs(tmp_path: Path) -> None:
    images = np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2, 1)
    order = np.random.default_rng(0).permutation(20)
    for part in np.split(order, 4):
        with Monitor(tmp_path, STAMP, keep_unsure=3) as monitor:
            monitor.add([predicted(at / 10, 0) for at in part], images[part])
            monitor.add([predicted(9, 0)] * 5, [GRAY] * 5)
    kept = sorted(tmp_path.glob("*/unsure/*.png"))
    scores = [float(path.name.partition("-")[0]) for path in kept]
    assert scores == pytest.approx([1 / (1 + np.exp(-at / 10)) for at in range(3)], abs=1e-6)
    for path, image in zip(kept, images, strict=False):
        assert np.array_equal(np.asarray(Image.open(path)), image[..., 0])


def test_the_same_image_again_and_again_is_kept_once(tmp_path: Path) -> None:
    for _ in range(2):
        with Monitor(tmp_path, STAMP, keep_unsure=3) as monitor:
            monitor.add([UNKNOWN] * 50, [GRAY] * 50)
    assert len(list(tmp_path.glob("*/unsure/*"))) == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pillow_reads_the_png_of_pixels(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    read = np.asarray(Image.open(io.BytesIO(_png(pixels))))
    assert np.array_equal(read.reshape(pixels.shape), pixels)


def test_a_file_without_a_reference_is_not_monitored(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Monitor(tmp_path / "new", replace(STAMP, reference=None))
    assert described(caught.value) == (
        "int8.tflite has no reference to monitor it against; "
        "export it again; a model of yours needs --data IMAGES"
    )
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HemlineError, match="cannot write to"):
        Monitor(tmp_path / "file", STAMP)


@pytest.mark.parametrize(
    ("labels", "scores", "edges", "message"),
    [
        ([5, 5], [5, 5], [0.5], "must count 2 classes"),
        ([5, 5, 0], [5, 5], [], "a count for each bin"),
        ([9, 0, 0], [9, 0, 0], [0.5, 0.5], "ascending edges"),
    ],
)
def test_a_stamp_with_a_reference_that_contradicts_itself_is_refused(
    labels: list[int], scores: list[int], edges: list[float], message: str
) -> None:
    document = json.loads(json.dumps(schema.to_document(STAMP)))
    document["reference"]["counts"] |= {"labels": labels, "scores": scores}
    document["reference"]["score_edges"] = edges
    with pytest.raises(SchemaError, match=message):
        schema.from_document(Stamp, document, where="the stamp")


def test_classify_counts_files_and_frames_of_an_exported_file(
    bundle: Path, images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copy(bundle / "int8.tflite", tmp_path)
    reference = read_stamped(Path(path)).stamp.reference
    assert reference is not None
    assert reference.counts.images == len(np.load(bundle / "evaluation" / "validation-labels.npy"))
    for at in range(3):
        np.save(tmp_path / f"{at}.npy", images.test_images[at])
    files = [str(tmp_path / f"{at}.npy") for at in range(3)]
    options = ["--monitor", str(tmp_path / "m"), "--keep-unsure", "2"]
    assert main(["classify", str(path), *files, str(tmp_path / "none.npy"), *options]) == 1
    printed = capsys.readouterr()
    assert "note: images are stored in" in printed.err
    assert main(["classify", str(path), "--video", str(tmp_path / "none"), *options]) == 1
    (window,) = windows(tmp_path / "m")
    assert window.images == 3
    assert len(list(tmp_path.glob("m/*/unsure/*.png"))) == 2
    assert main(["classify", str(path), *files, "--keep-unsure", "2"]) == 2
    assert "name one" in capsys.readouterr().err

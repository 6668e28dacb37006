"""The cache of decoded images: mapped, resumed, waited for, listed; what fails is told."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hemline import files
from hemline.child_process import PipedChild
from hemline.cli import cli
from hemline.data.custom import image_blocks
from hemline.data.custom import reading as reading_module
from hemline.data.custom.cache_folders import CacheFolder
from hemline.data.custom.class_folders import ImageFile, list_folder
from hemline.data.custom.decoded_cache import decoded, key_of
from hemline.data.custom.decoding import decode
from hemline.data.custom.image_blocks import BlockReader, content_of
from hemline.data.custom.loading import load_custom
from hemline.data.custom.pixel_file import PixelFile, Row
from hemline.data.custom.reading import ReadOptions
from hemline.data.datasets import Images, array_sha256, image_hashes
from hemline.data.image_rows import MappedImages, Pixels, blocks, joined, selected
from hemline.errors import DataError
from hemline.pictures.npy import write_npy
from hemline.progress import Say, report_to

_SIZE = ReadOptions(size=(8, 8))


def write_pictures(folder: Path, count: int = 10, side: int = 8) -> Path:
    """Write `count` pictures of noise into each of three class folders."""
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        for at in range(count):
            pixels = random.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{at:04}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")


def load(path: Path, cache: Path | None, report: Say = lambda _: None) -> Images:
    with report_to(report):
        return load_custom(path, _SIZE, cache=cache)


def noise(count: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (count, 4, 5, 3), np.uint8)


def test_rows_of_a_file_are_what_the_array_is(tmp_path: Path) -> None:
    array = noise(9)
    np.save(tmp_path / "x.npy", array)
    mapped = MappedImages(np.load(tmp_path / "x.npy", mmap_mode="r"))
    rows = np.array([7, 1, 1, 4])
    some, plain = selected(mapped, rows), selected(array, rows)
    assert isinstance(some, MappedImages)
    assert some.shape == plain.shape
    np.testing.assert_array_equal(np.asarray(some), plain)
    np.testing.assert_array_equal(some[1:3], plain[1:3])
    np.testing.assert_array_equal(some[0], plain[0])
    np.testing.assert_array_equal(np.concatenate([*blocks(some)]), plain)
    assert [*image_hashes(some)] == [*image_hashes(plain)]
    assert array_sha256(some) == array_sha256(plain)
    both = joined(some, selected(mapped, np.arange(9) > 6))
    assert isinstance(both, MappedImages)
    np.testing.assert_array_equal(np.asarray(both), array[[7, 1, 1, 4, 7, 8]])
    np.testing.assert_array_equal(np.asarray(joined(some, plain)), array[[7, 1, 1, 4] * 2])


def test_large_images_are_announced_unless_they_follow_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(1).integers(0, 256, (9, 120, 100, 3), np.uint8)
    np.save(tmp_path / "x.npy", array)
    file = np.load(tmp_path / "x.npy", mmap_mode="r")
    told: list[tuple[int, int]] = []
    mapped = type("Mapped", (), {"__len__": lambda _: 128 + array.nbytes})()
    mapped.madvise = lambda _, start, size: told.append((start, start + size))
    images = MappedImages(file)
    monkeypatch.setattr(file, "_mmap", mapped)
    for rows in (slice(2, 6), [8], [3, 4, 5]):
        np.testing.assert_array_equal(images[rows], array[rows])
    assert not told
    np.testing.assert_array_equal(images[[8, 0]], array[[8, 0]])
    for row, (start, end) in zip((8, 0), told, strict=True):
        assert start % mmap.PAGESIZE == 0
        assert start <= 128 + row * 36_000 < 128 + (row + 1) * 36_000 <= end <= 128 + array.nbytes


def test_the_cache_gives_what_the_memory_gives(folder: Path, tmp_path: Path) -> None:
    plain = load(folder, None)
    for _ in ("decoded", "from the cache"):
        found = load(folder, tmp_path / "cache")
        assert isinstance(found.train_images, MappedImages)
        assert found.sha256 == plain.sha256
        assert (found.train_names, found.test_names) == (plain.train_names, plain.test_names)
        np.testing.assert_array_equal(np.asarray(found.test_images), plain.test_images)


def test_more_images_than_memory_fit_into_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "free_bytes", lambda: 1000)
    with pytest.raises(DataError, match="of memory are free"):
        load(folder, None)
    assert len(load(folder, tmp_path / "cache").train_images) == 24


def rows_of(pixels: Pixels) -> list[Row]:
    return [Row(digest=digest.hex()) for digest in image_hashes(pixels)]


def test_what_a_killed_process_wrote_is_used(tmp_path: Path) -> None:
    pixels = noise(6)
    first = [*rows_of(pixels[:1]), Row(fault="is broken")]
    with PixelFile(tmp_path, pixels.shape[1:]) as file:
        for at, rows in ((0, first), (4, rows_of(pixels[4:]))):
            file.write(at, pixels[at : at + 2])
            file.note(at, rows)
    with (tmp_path / "journal.jsonl").open("a") as journal:
        journal.write('[2, [["", ')  # the kill cut this line
    with (tmp_path / "unfinished.npy").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"?")  # and a power cut lost this page
    with PixelFile(tmp_path, pixels.shape[1:]) as file:
        assert file.rows_at(0) == first
        assert file.rows_at(2) is None
        assert file.rows_at(4) is None
        file.write(2, pixels[2:])
        images, _ = file.finish([True] * 6, 3)
    np.testing.assert_array_equal(np.asarray(images), pixels)
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), pixels)
    assert not (tmp_path / "journal.jsonl").exists()


def test_images_that_are_left_out_leave_no_gap(tmp_path: Path) -> None:
    pixels, keep = noise(5), [True, False, True, True, False]
    with PixelFile(tmp_path, pixels.shape[1:]) as file:
        file.write(0, pixels)
        images, digests = file.finish(keep, 1)
    np.testing.assert_array_equal(np.asarray(images), pixels[keep][..., :1])
    assert digests == [digest.hex() for digest in image_hashes(pixels[keep][..., :1])]


@pytest.mark.medium
@pytest.mark.parametrize("many", [1, 3000])
def test_a_killed_command_is_gone_on_from(tmp_path: Path, many: int) -> None:
    folder, cache = write_pictures(tmp_path / "pictures", 300, 96), tmp_path / "cache"
    code = (
        "import sys; from pathlib import Path; from hemline.data.custom.loading import *; "
        f"from hemline.data.custom import image_blocks; image_blocks._MANY = {many}; "
        "load_custom(Path(sys.argv[1]), ReadOptions(size=(96, 96)), cache=Path(sys.argv[2]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder), str(cache)])
    until = time.monotonic() + 60
    while not any(each.stat().st_size for each in cache.glob("*/journal.jsonl")):
        assert time.monotonic() < until
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not [*cache.glob("*/facts.json")]
    found = load_custom(folder, ReadOptions(size=(96, 96)), cache=cache)
    assert found.sha256 == load_custom(folder, ReadOptions(size=(96, 96)), cache=None).sha256
    assert [path.name for path in cache.glob("*/*.jsonl")] == []


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[PipedChild]:
    """Let two processes read images, however few; return those that were started."""
    started: list[PipedChild] = []

    def start(*words: str, **environment: str) -> PipedChild:
        started.append(PipedChild(*words, **environment))
        return started[-1]

    monkeypatch.setattr(image_blocks, "PipedChild", start)
    monkeypatch.setattr(image_blocks, "cores", lambda: 2)
    monkeypatch.setattr(image_blocks, "_MANY", 1)
    monkeypatch.setattr(image_blocks, "MOST", 4)
    return started


@pytest.fixture(params=["threads", "processes"])
def either_way(request: pytest.FixtureRequest) -> None:
    """Read images in each of the two ways."""
    if request.param == "processes":
        request.getfixturevalue("processes")


@pytest.mark.usefixtures("either_way")
def test_a_picture_that_changes_meanwhile_is_named(folder: Path, tmp_path: Path) -> None:
    listing = list_folder(folder)
    contents = [*map(content_of, listing.files)]
    Image.new("RGB", (8, 8), "red").save(folder / "b" / "0003.png")
    place = CacheFolder(path=tmp_path, contents=contents)
    with pytest.raises(DataError, match=r"b/0003\.png changed while it was being read"):
        decode(listing, _SIZE, place)


@pytest.mark.usefixtures("either_way")
def test_what_a_killed_command_wrote_is_used_if_the_files_are_as_before(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block of files has hashes of its own: only what changed is decoded again."""
    monkeypatch.setattr(image_blocks, "MOST", 10)
    cache, listing, read = tmp_path / "cache", list_folder(folder), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(PixelFile, "finish", lambda *_: None)
        with pytest.raises(TypeError):  # as if it were killed: what it wrote stays
            decoded(cache, listing, _SIZE)
    changed = Image.new("RGB", (8, 8), "red")
    changed.save(folder / "b" / "0003.png")
    once = BlockReader.read

    def noted(self: BlockReader, at: int, items: Sequence[ImageFile]) -> list[Row]:
        read.extend(item.name for item in items)
        return once(self, at, items)

    monkeypatch.setattr(BlockReader, "read", noted)
    found = decoded(cache, listing, _SIZE)
    assert sorted(read) == [f"b/{at:04}.png" for at in range(10)]
    np.testing.assert_array_equal(found.images[13], np.asarray(changed))
    assert found.digests == decode(listing, _SIZE).digests
    assert [*cache.glob("*/facts.json")]


@pytest.mark.usefixtures("processes")
def test_processes_read_what_threads_read(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green")]
    frames[0].save(folder / "a" / "moves.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (30, 20), 90).save(folder / "b" / "gray.jpg")
    frames[1].save(folder / "b" / "of-its-size.jpg")
    (folder / "c" / "broken.png").write_bytes((folder / "c" / "0000.png").read_bytes()[:90])
    listing, reading = list_folder(folder), replace(_SIZE, skip_broken=True)
    plain = decode(listing, reading)
    warned = sorted(record.message for record in caplog.records)
    caplog.clear()
    found = decode(listing, reading, CacheFolder(path=tmp_path))
    assert sorted(record.message for record in caplog.records) == warned
    assert any("moves.gif is animated" in message for message in warned)
    assert found.broken == plain.broken == ("c/broken.png",)
    assert (found.digests, found.contents) == (plain.digests, plain.contents)
    np.testing.assert_array_equal(np.asarray(found.images), plain.images)


def test_processes_read_the_images_of_shards(
    folder: Path, tmp_path: Path, processes: list[PipedChild]
) -> None:
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.add(path, f"{path.parent.name}/{path.name}")
    found = load(tmp_path / "all.tar", tmp_path / "cache")
    assert len(processes) == 2
    assert found.sha256 == load(tmp_path / "all.tar", None).sha256


def test_a_process_that_is_killed_costs_nothing_but_itself(
    folder: Path, tmp_path: Path, processes: list[PipedChild], caplog: pytest.LogCaptureFixture
) -> None:
    whole = load(folder, None)
    pixels = PixelFile(tmp_path, (8, 8, 3))
    files = list_folder(folder).files
    with pixels, BlockReader(pixels, count=30, hashed=True, encoded=True) as reader:
        assert [row.fault for row in reader.read(0, files[:4])] == [""] * 4
        processes[1].process.kill()
        rows = [reader.read(at, files[at : at + 4]) for at in range(0, 12, 4)]
        assert "a process that reads images ended (signal 9)" in caplog.text
        pixels.note(0, [row for part in rows for row in part])
    with PixelFile(tmp_path, (8, 8, 3)) as again:
        assert again.rows_at(0) == [row for part in rows for row in part]
    assert all(child.process.returncode is not None for child in processes)
    assert load(folder, tmp_path / "cache").sha256 == whole.sha256


def test_a_disk_that_is_full_is_told_by_processes(
    folder: Path, tmp_path: Path, processes: list[PipedChild]
) -> None:
    pixels = PixelFile(tmp_path, (8, 8, 3))
    files = list_folder(folder).files
    with largest_file(2000), pixels:
        reader = BlockReader(pixels, count=30, hashed=True, encoded=True)
        with reader, pytest.raises(OSError, match="File too large"):
            reader.read(8, files[:4])
    assert all(child.process.returncode is not None for child in processes)


def test_processes_end_with_the_command(tmp_path: Path) -> None:
    """Also when it is killed, which leaves it no time to end them."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from hemline.data.custom import image_blocks as blocks\n"
        "from hemline.data.custom.pixel_file import PixelFile\n"
        "blocks._MANY, blocks.cores = 1, lambda: 2\n"
        "pixels = PixelFile(Path(sys.argv[1]), (8, 8, 3))\n"
        "reader = blocks.BlockReader(pixels, count=9, hashed=True, encoded=True)\n"
        "print(*[child.process.pid for child in reader._children], flush=True)\n"
        "time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        numbers = [int(word) for word in child.stdout.readline().split()]
    assert len(numbers) == 2
    child.kill()
    child.wait()
    until = time.monotonic() + 60
    while any(is_running(number) for number in numbers):
        assert time.monotonic() < until
        time.sleep(0.01)


def is_running(process: int) -> bool:
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
    return False


def test_files_of_other_contents_are_not_taken_for_those_in_the_cache(
    folder: Path, tmp_path: Path
) -> None:
    """A folder is found again wherever it is, and its images are others after any change."""
    cache = tmp_path / "cache"
    before = load(folder, cache)
    moved = folder.rename(tmp_path / "moved")
    assert load(moved, cache).sha256 == before.sha256
    assert len([*cache.glob("*/facts.json")]) == 1
    Image.new("RGB", (8, 8), "red").save(moved / "b" / "0003.png")
    after = load(moved, cache)
    assert after.sha256 == load(moved, None).sha256 != before.sha256
    assert len([*cache.glob("*/facts.json")]) == 2


def test_a_second_command_waits_for_the_first(folder: Path, tmp_path: Path) -> None:
    cache, listing = tmp_path / "cache", list_folder(folder)
    first = load(folder, cache)
    (done,) = (path for path in cache.iterdir() if path.is_dir())
    done.rename(tmp_path / "done")  # as if it were being decoded
    said: list[str] = []
    found: list[Images] = []
    with files.locked(cache / key_of(listing, (str(folder),), _SIZE)):
        thread = threading.Thread(target=lambda: found.append(load(folder, cache, said.append)))
        thread.start()
        until = time.monotonic() + 30
        while not said and time.monotonic() < until:
            time.sleep(0.005)
        (tmp_path / "done").rename(done)
    thread.join(30)
    assert said == ["another hemline command is reading these images: waiting for it"]
    assert found[0].sha256 == first.sha256
    assert [path for path in cache.iterdir() if path.is_dir()] == [done]


@contextlib.contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_cache_disk_that_is_full_costs_only_the_cache(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    with largest_file(2000):
        found = load(folder, cache)
    assert found.sha256 == load(folder, None).sha256
    assert "decoded images are not cached: cannot write" in caplog.text
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_disk_without_room_is_told_with_its_size(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    load(folder, tmp_path / "cache")
    assert "MB free, and this needs" in caplog.text
    assert "set XDG_CACHE_HOME to another folder" in caplog.text


def invoke(*words: object, **environment: Any) -> str:
    result = CliRunner().invoke(cli, [str(word) for word in words], env=environment)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_cache_is_listed_and_cleared(folder: Path, tmp_path: Path) -> None:
    home = {"XDG_CACHE_HOME": str(tmp_path / "home")}
    place = tmp_path / "home" / "hemline" / "decoded"
    assert f"{place.parent} has no decoded images" in invoke("data", "cache", "list", **home)
    invoke("data", "check", "--data", folder, **home)
    output = invoke("data", "cache", "list", **home)
    assert str(folder) in output
    assert "30 of 8 × 8 × 3" in output
    document = json.loads(invoke("data", "cache", "list", "--json", **home))
    assert document["shape"] == [30, 8, 8, 3]
    (busy,) = (path for path in place.iterdir() if path.is_dir())
    with files.locked(busy):
        assert "another hemline command" in invoke("data", "cache", "clear", **home)
    assert f"removed from {place.parent}" in invoke("data", "cache", "clear", **home)
    assert not [path for path in place.iterdir() if path.is_dir()]


def test_predictions_of_teachers_are_listed_and_cleared(tmp_path: Path) -> None:
    home = {"XDG_CACHE_HOME": str(tmp_path)}
    place = tmp_path / "hemline" / "soft-targets" / "0123"
    (place / "+0+0").mkdir(parents=True)
    (place / "+0+0" / "predictions.npy").write_bytes(bytes(3_000_000))
    output = invoke("data", "cache", "list", **home)
    assert "predictions of teachers" in output
    assert "3 MB of decoded images and predictions of teachers in" in output
    document = json.loads(invoke("data", "cache", "list", "--json", **home))
    assert document["folder"] == str(place)
    assert document["size_bytes"] == 3_000_000
    with files.locked(place / "+0+0"):  # a training makes predictions
        assert f"{place} is kept" in invoke("data", "cache", "clear", **home)
    assert "3 MB of decoded" in invoke("data", "cache", "clear", **home)
    assert not place.exists()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_arrays_are_written_as_numpy_writes_them(tmp_path: Path, dtype: str) -> None:
    array = noise(5).astype(dtype)
    write_npy(tmp_path / "ours.npy", array)
    np.save(tmp_path / "numpys.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()

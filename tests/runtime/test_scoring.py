"""`hemline score`: a row for each image, once, however often the run is killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from patience import HANG_SECONDS, eventually
from PIL import Image

from hemline.cli import cli
from hemline.cluster import connected
from hemline.data.datasets import Images
from hemline.errors import DataError, HemlineError, UsageError
from hemline.files import locked
from hemline.runtime import Classifier

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from hemline.runtime.scoring import chunks, executing, scoring  # noqa: E402 — they need pyarrow
from hemline.runtime.scoring.chunks import Chunk, Task  # noqa: E402
from hemline.runtime.scoring.scorer import Scorer, ScoringOptions  # noqa: E402

CHILDREN = Path("/proc/self/task") / str(os.getpid()) / "children"
ARRAYS = 7  # images of a chunk of an array, here


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_ARRAYS", ARRAYS)
    monkeypatch.setattr(chunks, "_FILES", 3)


@pytest.fixture
def shards(images: Images, tmp_path: Path) -> Path:
    """Three shards of 25, 7 and 3 of the images: parts of a chunk, and whole ones."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, part in (("a", slice(0, 25)), ("b", slice(25, 32)), ("c", slice(32, 35))):
        np.savez(folder / f"{name}.npz", x=images.test_images[part], y=images.test_labels[part])
    return folder


@pytest.fixture
def photographs(images: Images, tmp_path: Path) -> Path:
    """Eight pictures in two folders; one of them is not a picture."""
    folder = tmp_path / "photos"
    for at, image in enumerate(images.test_images[:8, ..., 0]):
        path = folder / ("even", "odd")[at % 2] / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((40, 40)).save(path)
    (folder / "odd" / "5.png").write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    return folder


def options_of(artifact: Path, **changes: object) -> ScoringOptions:
    return ScoringOptions(artifact=str(artifact), **changes)  # type: ignore[arg-type]


def test_images_of_known_classes_are_counted(
    bundle: Path, shards: Path, photographs: Path, tmp_path: Path
) -> None:
    options, output = options_of(bundle / "int8.tflite"), tmp_path / "out.parquet"
    for scored in (35, 0):  # the second time from the file
        given: dict[str, Any] = {"execute": executing.here, "workers": 1}
        result = scoring.score(options, [str(shards)], output, **given)
        rows = pq.read_table(output).to_pylist()
        correct = sum(row["label"] == row["true"] for row in rows)
        assert (result.labelled, result.correct, result.scored) == (35, correct, scored)
    others = scoring.score(options, [str(photographs)], tmp_path / "photos.parquet", **given)
    assert (others.images, others.labelled, others.faults) == (8, 0, 1), "folders of other names"


def test_a_command_that_can_read_no_image_fails(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    output = tmp_path / "out.parquet"
    line = ["score", str(bundle / "int8.tflite"), str(tmp_path / "broken.png"), "-o", str(output)]
    result = CliRunner().invoke(cli, line)
    assert "1 could not be read (column error)" in result.output
    assert f"no image could be read: the column error of {output}" in str(result.exception)
    assert isinstance(result.exception, DataError)
    (row,) = pq.read_table(output).to_pylist()
    assert "broken.png" in row["error"]


def run(options: ScoringOptions, source: Path, output: Path, **changes: object) -> pa.Table:
    given: dict[str, object] = {"execute": executing.here, "workers": 1, **changes}
    scoring.score(options, [str(source)], output, **given)  # type: ignore[arg-type]
    return pq.read_table(output)


def test_rows_are_what_the_classifier_predicts(
    bundle: Path, shards: Path, images: Images, tmp_path: Path
) -> None:
    table = run(options_of(bundle / "int8.tflite"), shards, tmp_path / "out.parquet")
    with Classifier.load(bundle / "int8.tflite") as classifier:
        expected = classifier.classify_batch(images.test_images[:35])
    labels = classifier.labels
    assert table["label"].to_pylist() == [each.label for each in expected]
    assert table["best"].to_pylist() == [labels[each.index] for each in expected]
    assert table["score"].to_pylist() == [each.score for each in expected]
    assert table["known"].to_pylist() == [each.known for each in expected]
    assert table["true"].to_pylist() == [labels[at] for at in images.test_labels[:35]]
    np.testing.assert_array_equal(
        np.stack(table["scores"].to_numpy()), np.stack([each.scores for each in expected])
    )
    assert len(set(table["image"].to_pylist())) == 35
    assert table["error"].null_count == 35
    assert json.loads(table.schema.metadata[b"hemline"])["labels"] == list(labels)


def test_an_embedding_and_a_bad_image_stand_in_one_table(
    embedding_bundle: Path, photographs: Path, images: Images, tmp_path: Path
) -> None:
    artifact = embedding_bundle / "fp32.onnx"
    table = run(options_of(artifact, embedding=True), photographs, tmp_path / "out.parquet")
    rows = table.to_pylist()
    paths = sorted(photographs.rglob("*.png"))
    assert [row["image"] for row in rows] == [str(p.relative_to(photographs)) for p in paths]
    assert [row["true"] for row in rows] == [path.parent.name for path in paths]
    with Classifier.load(artifact) as classifier:
        for path, row in zip(paths, rows, strict=True):
            if path.name == "5.png":
                missing = ("label", "best", "score", "known", "scores", "embedding")
                assert [row[name] for name in missing] == [None] * len(missing)
                assert "5.png is not a readable image" in row["error"]
                continue
            seen = classifier.prepare(path)[None]
            np.testing.assert_array_equal(row["embedding"], classifier.embed(seen)[0])
            assert row["error"] is None


def test_a_name_that_is_no_text_is_written_as_near_as_it_can_be(
    bundle: Path, photographs: Path, tmp_path: Path
) -> None:
    photograph = photographs / "odd" / "5.png"
    photograph.rename(os.fsdecode(os.fsencode(photographs / "odd") + b"/\xff.png"))
    table = run(options_of(bundle / "int8.tflite"), photographs, tmp_path / "out.parquet")
    (row,) = [row for row in table.to_pylist() if row["error"]]
    assert row["image"] == "odd/?.png"
    assert "odd/?.png is not a readable image" in row["error"]


def test_without_an_embedding_in_the_file_none_can_be_written(
    bundle: Path, shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"fp32\.tflite has no embedding"):
        run(options_of(bundle / "fp32.tflite", embedding=True), shards, tmp_path / "out.parquet")


@pytest.mark.usefixtures("_small_chunks")
def test_every_image_is_in_one_chunk_whatever_was_done_and_by_how_many(
    bundle: Path, shards: Path, photographs: Path, tmp_path: Path
) -> None:
    units = chunks.units_of([str(shards), str(photographs)])
    assert [len(unit.parts) for unit in units] == [1, 1, 1, 3, 3, 2]
    with Scorer(options_of(bundle / "int8.tflite")) as scorer:

        def rows(folder: Path, done: Sequence[Chunk], count: int) -> dict[Chunk, bytes]:
            """Return the chunks that are not done."""
            folder.mkdir()
            todo = chunks.tasks_of(units, done, count)
            each = [chunk for task in todo for chunk in chunks.do_task(task, scorer, folder)]
            assert sorted(each) == chunks.chunks_in(folder)
            return {chunk: chunk.path(folder).read_bytes() for chunk in each}

        whole = rows(tmp_path / "whole", [], 1)
        assert [each.images for each in whole if each.unit == 0] == [7, 7, 7, 4]
        assert [each.images for each in whole if each.unit == 1] == [7, 0]  # the short one ends it
        assert sum(each.images for each in whole) == 35 + 8
        order = random.Random(1)
        for count in (1, 2, 3, 10):
            done = [chunk for chunk in whole if order.random() < 0.5]
            rest = rows(tmp_path / str(count), done, count)
            assert sorted([*done, *rest]) == sorted(whole)
            assert rest.items() <= whole.items()
        assert chunks.tasks_of(units, list(whole), 4) == []


@pytest.mark.usefixtures("_small_chunks")
def test_an_interrupted_run_goes_on_where_it_was(
    bundle: Path, shards: Path, tmp_path: Path
) -> None:
    options, output = options_of(bundle / "int8.tflite"), tmp_path / "out.parquet"
    whole = run(options, shards, tmp_path / "whole.parquet")
    scored: list[int] = []

    def at_most_three(
        options: ScoringOptions, todo: Sequence[Task], folder: Path
    ) -> Iterator[None]:
        each = executing.here(options, todo, folder)
        for chunk in itertools.islice(each, 3):
            scored.append(chunk.images)  # type: ignore[attr-defined]
            yield
        if len(todo) > 1:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(options, shards, output, execute=at_most_three)
        assert not output.exists()
    table = run(options, shards, output, execute=at_most_three)
    assert table.equals(whole)
    assert sum(scored) == 35  # none is scored twice
    assert not list(tmp_path.glob("*unfinished*"))
    again = scoring.score(options, [str(shards)], output, execute=at_most_three, workers=1)
    assert (again.images, again.scored) == (35, 0)


@pytest.mark.usefixtures("_small_chunks")
def test_a_finished_or_unfinished_run_of_other_images_is_not_mixed_in(
    bundle: Path, shards: Path, tmp_path: Path
) -> None:
    options, output = options_of(bundle / "int8.tflite"), tmp_path / "out.parquet"

    def one(options: ScoringOptions, todo: Sequence[Task], folder: Path) -> Iterator[object]:
        yield next(executing.here(options, todo, folder))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(options, shards, output, execute=one)
    (shards / "c.npz").rename(shards / "d.npz")
    with pytest.raises(UsageError, match=r"out\.parquet\.unfinished is of an unfinished run with"):
        run(options, shards, output)
    assert run(options, shards, output, force=True).num_rows == 35
    with pytest.raises(UsageError, match=r"out\.parquet exists, and is not of these images"):
        run(options_of(bundle / "int8.onnx"), shards, output)
    output.write_bytes(b"mine")
    with pytest.raises(UsageError, match="is not of these images"):
        run(options, shards, output)


def test_two_commands_do_not_write_one_file(bundle: Path, shards: Path, tmp_path: Path) -> None:
    line = ["score", str(bundle / "int8.tflite"), str(shards), "-o", str(tmp_path / "out.parquet")]
    with locked(tmp_path / "out.parquet.unfinished"):
        result = CliRunner().invoke(cli, [*line, "--workers", "1"])
    assert "another hemline command is using" in str(result.exception)
    result = CliRunner().invoke(cli, [*line, "--workers", "1"])
    assert "out.parquet: 35 images, " in result.stdout


def test_a_shard_cut_short_is_a_row_with_its_name(
    bundle: Path, shards: Path, tmp_path: Path
) -> None:
    content = (shards / "a.npz").read_bytes()
    (shards / "b.npz").write_bytes(content[: len(content) // 2])
    table = run(options_of(bundle / "int8.tflite"), shards, tmp_path / "out.parquet")
    rows = [row for row in table.to_pylist() if row["error"]]
    assert table.num_rows == 25 + 1 + 3
    assert [row["image"] for row in rows] == ["b.npz"]
    assert "b.npz" in rows[0]["error"]


def start(*words: object) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("hemline")), "-q", "score", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture
def many_shards(images: Images, tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for at in range(40):
        np.savez(folder / f"{at:02}.npz", x=np.repeat(images.test_images[at : at + 30], 20, axis=0))
    return folder


@pytest.mark.medium
def test_no_image_is_lost_or_twice_after_kills_at_random_moments(
    bundle: Path, many_shards: Path, tmp_path: Path
) -> None:
    """SIGKILL to the command alone: its processes notice, and end."""
    options, output = options_of(bundle / "int8.tflite"), tmp_path / "out.parquet"
    whole = run(options, many_shards, tmp_path / "whole.parquet")
    line, order = (options.artifact, many_shards, "-o", output, "--workers", 2), random.Random(3)
    folder, before = tmp_path / "out.parquet.unfinished", 0

    def finished() -> int:
        return len(list(folder.glob("[!.]*.arrow")))

    for _ in range(5):
        process = start(*line)
        assert eventually(lambda before=before, p=process: finished() > before or p.poll() == 0)
        time.sleep(order.random() / 50)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=HANG_SECONDS)
        before = finished()
    last = start(*line)
    assert last.communicate(timeout=HANG_SECONDS) == (None, b"")
    assert last.returncode == 0
    assert pq.read_table(output).equals(whole)
    assert not folder.exists()


@pytest.mark.medium
def test_a_killed_worker_costs_no_image(bundle: Path, many_shards: Path, tmp_path: Path) -> None:
    options = options_of(bundle / "int8.tflite")
    whole = run(options, many_shards, tmp_path / "whole.parquet")
    killed: list[int] = []

    def kill_two(options: ScoringOptions, todo: Sequence[Task], folder: Path) -> Iterator[object]:
        for _ in executing.in_processes(3)(options, todo, folder):
            if len(killed) < 2 and len(chunks.chunks_in(folder)) > 3 + len(killed):
                alive = {*map(int, CHILDREN.read_text().split())}
                victim = sorted(alive.difference(killed))[0]
                killed.append(victim)
                os.kill(victim, signal.SIGKILL)
            yield

    assert run(options, many_shards, tmp_path / "out.parquet", execute=kill_two).equals(whole)
    assert len(set(killed)) == 2


@pytest.mark.medium
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, of its options
def test_ray_gives_the_same_rows(bundle: Path, many_shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    options, output = options_of(bundle / "int8.tflite"), tmp_path / "out.parquet"
    whole = run(options, many_shards, tmp_path / "whole.parquet")
    with connected("", executing.CORE):
        on_ray = executing.on_ray(2)
        assert run(options, many_shards, output, execute=on_ray).equals(whole)
        # what a worker refuses
        broken = options_of(tmp_path / "int8.tflite")
        todo = chunks.tasks_of(chunks.units_of([str(many_shards)]), [], 2)
        with pytest.raises(HemlineError, match=r"has no .*int8\.tflite: the artifact, the images"):
            list(on_ray(broken, todo, tmp_path))


def below(pid: int) -> Iterator[int]:
    """Yield the processes that a process has started, and those that they have."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended
            for child in map(int, path.read_text().split()):
                yield child
                yield from below(child)


def ray_workers() -> list[int]:
    """Return the processes of this test's own Ray that score."""
    found = []
    for pid in below(os.getpid()):
        with contextlib.suppress(OSError):
            if b"_RayWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, of its options
def test_a_killed_worker_of_ray_is_replaced_and_costs_no_image(
    bundle: Path, many_shards: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    options, output = options_of(bundle / "int8.tflite"), tmp_path / "out.parquet"
    whole = run(options, many_shards, tmp_path / "whole.parquet")
    images: list[int] = []  # that were done at the kill, and by Ray in all

    def kill_one(options: ScoringOptions, todo: Sequence[Task], folder: Path) -> Iterator[object]:
        def done() -> int:
            return sum(chunk.images for chunk in chunks.chunks_in(folder))

        def kill() -> None:
            assert eventually(lambda: done() and ray_workers())
            os.kill(ray_workers()[0], signal.SIGKILL)
            images.append(done())

        with ThreadPoolExecutor() as pool:
            killed = pool.submit(kill)
            yield from executing.on_ray(2)(options, todo, folder)
            killed.result()
        images.append(done())

    with connected("", executing.CORE):
        assert run(options, many_shards, output, execute=kill_one).equals(whole)
    assert images[0] < images[1] == whole.num_rows

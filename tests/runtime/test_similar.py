"""Similar images: what an index finds, what it refuses, and the images that a page gets of it."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hemline.cli import cli
from hemline.contract.stamp import read_stamped
from hemline.errors import DataError, FileFormatError, HemlineError, StorageError, UsageError
from hemline.remedies import described
from hemline.runtime.classifier import Classifier
from hemline.runtime.similar import building, page_images
from hemline.runtime.similar.api import similar
from hemline.runtime.similar.building import build
from hemline.runtime.similar.embedding import Embedded, embedded
from hemline.runtime.similar.image_index import CARD, VECTORS, ImageIndex, empty_index
from hemline.runtime.similar.scores import scored

SIMILAR_JS = Path(__file__).resolve().parents[2] / "runtime" / "web" / "similar.js"
SIZE = 64  # values of an embedding of hem-50k
COUNT = 1500
BATCH = 600


def embeddings(count: int = COUNT) -> np.ndarray:
    """Return vectors like those behind a ReLU: none of their values is below 0."""
    random = np.random.default_rng(0)
    return np.maximum(random.normal(size=(count, SIZE)), 0).astype(np.float32)


def batches(vectors: np.ndarray) -> list[Embedded]:
    found = []
    for start in range(0, len(vectors), BATCH):
        part = vectors[start : start + BATCH]
        places = range(start, start + len(part))
        seen = np.stack([np.full((28, 28, 1), at % 256, np.uint8) for at in places])
        names, labels = [f"a/{at}.png" for at in places], [f"class {at % 10}" for at in places]
        found.append(Embedded(names, labels, part, seen))
    return found


@pytest.fixture(scope="module")
def artifact(embedding_bundle: Path) -> Path:
    return embedding_bundle / "int8.tflite"


@pytest.fixture(scope="module")
def index(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("similar") / "images.index"
    build(batches(embeddings()), artifact, folder, "a")
    return folder


@pytest.fixture
def copy(index: Path, tmp_path: Path) -> Path:
    """Return an index that a test may change."""
    return Path(shutil.copytree(index, tmp_path / "copy"))


def test_an_index_finds_what_an_exact_search_in_float32_finds(index: Path) -> None:
    vectors = embeddings()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with ImageIndex(index) as opened:
        assert opened.card.images == COUNT
        assert opened.card.recall >= 0.99
        found = 0
        for at in range(0, COUNT, 50):
            cosines = unit @ unit[at]
            # a float16 has 11 bits, so the cosine of two such unit vectors is off by 2^-11 at most
            least = np.sort(cosines)[-10] - 2**-11
            neighbours = opened.find(vectors[at], 10)
            assert neighbours[0].name == f"a/{at}.png"
            assert neighbours[0].label == f"class {at % 10}"
            for each in neighbours:
                place = int(Path(each.name).stem)
                assert each.similarity == pytest.approx(cosines[place], abs=2**-11)
                found += cosines[place] >= least
    assert found >= 0.98 * 10 * COUNT / 50


def test_a_search_is_widened_until_it_finds_enough() -> None:
    from usearch.index import Index

    # with two links at each vector, narrow searches miss many
    sparse = Index(ndim=SIZE, metric="cos", dtype="f16", connectivity=2)
    sparse.add(np.arange(COUNT), embeddings(), threads=1)
    width, recall = building._measured(sparse)
    assert width > building._WIDTHS[0]
    assert recall >= building._ENOUGH or width == building._WIDTHS[-1]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_few_images_are_an_index_too(count: int, artifact: Path, tmp_path: Path) -> None:
    card = build(batches(embeddings(count)), artifact, tmp_path / "index", "a")
    assert (card.images, card.recall) == (count, 1.0)
    with ImageIndex(tmp_path / "index") as opened:
        assert len(opened.find(embeddings(count)[0], 100)) == count


def test_a_vector_of_zeros_is_found_too(artifact: Path, tmp_path: Path) -> None:
    vectors = embeddings(3)
    vectors[1] = 0
    build(batches(vectors), artifact, tmp_path / "index", "a")
    with ImageIndex(tmp_path / "index") as opened:
        assert {each.name for each in opened.find(vectors[0], 3)} == {
            f"a/{at}.png" for at in range(3)
        }


def test_embeddings_that_are_not_numbers_are_refused(artifact: Path, tmp_path: Path) -> None:
    vectors = embeddings(3)
    vectors[1, 5] = np.nan
    with pytest.raises(DataError, match="not numbers"):
        build(batches(vectors), artifact, tmp_path / "index", "a")
    assert not list(tmp_path.iterdir())


def test_an_index_is_replaced_only_by_force_and_nothing_else_ever(
    copy: Path, artifact: Path, tmp_path: Path
) -> None:
    other = batches(embeddings(5))
    with pytest.raises(UsageError, match="is there already"):
        build(other, artifact, copy, "a")
    assert build(other, artifact, copy, "a", force=True).images == 5
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="is not an index"):
        build(other, artifact, tmp_path / "mine", "a", force=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "mine"]


def test_without_an_image_nothing_is_written(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image that can be read"):
        build([], artifact, tmp_path / "index", "photos")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("room", [20_000, 200_000])  # for the names, or for the vectors
def test_an_index_without_room_is_refused_in_one_line(
    artifact: Path, tmp_path: Path, room: int
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot write the index"):
            build(batches(embeddings()), artifact, tmp_path / "index", "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_file_without_embedding_makes_no_index(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no embedding") as caught:
        build(batches(embeddings(1)), bundle / "int8.tflite", tmp_path / "index", "a")
    assert "--with-embedding" in described(caught.value)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_index_is_refused_before_it_is_opened(copy: Path, damage: str) -> None:
    content = bytearray((copy / VECTORS).read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        (copy / VECTORS).unlink()
    else:
        (copy / VECTORS).write_bytes(content if damage == "changed" else content[:-100])
    with pytest.raises(FileFormatError, match=VECTORS):
        ImageIndex(copy)


def test_a_folder_that_is_not_an_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="is not an index"):
        ImageIndex(tmp_path)
    (tmp_path / CARD).write_text('{"kind": "image index", "schema": 99}')
    with pytest.raises(HemlineError, match="upgrade Hemline"):
        ImageIndex(tmp_path)


def test_a_page_gets_a_random_sample_of_all_images(index: Path, artifact: Path) -> None:
    found = page_images.page_images(index, [read_stamped(artifact).stamp])
    places = [int(Path(name).stem) for name in found.facts["names"]]
    assert len(set(places)) == page_images._MOST
    # 1,000 of 1,500: of the last 500, a third is missing, with a deviation of 8.6 images
    assert 280 <= sum(place >= 1000 for place in places) <= 387
    assert found.facts["labels"] == [f"class {place % 10}" for place in places]
    stored = np.frombuffer(found.files[page_images.VECTORS], np.int8).reshape(-1, SIZE)
    vectors = embeddings()[places]
    lengths = np.linalg.norm(stored.astype("f4"), axis=1) * np.linalg.norm(vectors, axis=1)
    # steps of 1/127 of the largest value: at most 0.3 degrees for vectors like these
    assert ((stored * vectors).sum(axis=1) / lengths).min() > 0.9999
    with Image.open(index / page_images.SHEET) as sheet:
        gray = np.asarray(sheet.convert("L"))
    for at in (0, 37, 999):
        row, column = divmod(at, found.facts["columns"])
        # the middle of a tile, which WebP keeps to a few steps
        assert abs(int(gray[28 * row + 14, 28 * column + 14]) - places[at] % 256) < 10


def test_a_page_shows_only_an_index_of_its_own_artifact(index: Path, artifact: Path) -> None:
    other = read_stamped(artifact.with_name("int8.onnx")).stamp
    with pytest.raises(UsageError, match=r"another file \(int8.tflite\) than int8.onnx"):
        page_images.page_images(index, [other])


def test_usearch_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "usearch.index", None)
    with pytest.raises(HemlineError, match="pip install usearch"):
        empty_index(3)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")
def test_a_page_finds_what_numpy_finds() -> None:
    vectors = np.random.default_rng(1).integers(-127, 128, (50, SIZE)).astype(np.int8)
    query = embeddings(1)[0]
    script = """
      const { searcher } = await import(process.argv[1]);
      const { vectors, query } = JSON.parse((await import('node:fs')).readFileSync(0));
      const find = searcher(Int8Array.from(vectors), query.length);
      console.log(JSON.stringify(find(Float32Array.from(query), 10)));
    """
    given = json.dumps({"vectors": vectors.ravel().tolist(), "query": query.tolist()})
    command = ["node", "--input-type=module", "--eval", script, SIMILAR_JS.as_uri()]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    real = vectors.astype(np.float64)
    cosines = real @ query / np.linalg.norm(real, axis=1) / np.linalg.norm(query)
    assert [each["at"] for each in found] == np.argsort(-cosines)[:10].tolist()
    assert [each["similarity"] for each in found] == pytest.approx(np.sort(cosines)[:-11:-1])


def test_images_of_a_folder_are_indexed_and_found_by_the_commands(
    artifact: Path, images: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for at, pixels in enumerate(images.test_images[:20]):  # type: ignore[attr-defined]
        path = tmp_path / "photos" / str(at % 2) / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).save(path)
    Path("photos/0/cut.png").write_bytes(b"\x89PNG")
    result = CliRunner().invoke(cli, ["index", str(artifact), "photos"])
    assert result.exit_code == 0, result.output
    assert "images.index: 20 images" in result.output
    assert "left out: " in result.output
    assert "cut.png" in result.output
    query = ["similar", "images.index", "photos/1/7.png", "photos/0/cut.png"]
    result = CliRunner().invoke(cli, [*query, "-n", "3", "--json"])
    assert result.exit_code == 1  # for the file that is cut short
    found = json.loads(result.output.splitlines()[0])
    assert found["image"] == "photos/1/7.png"
    assert len(found["similar"]) == 3
    assert found["similar"][0]["name"].endswith("1/7.png")
    assert found["similar"][0]["similarity"] == pytest.approx(1, abs=2**-10)
    assert "image in photos" in CliRunner().invoke(cli, query).output


def write_scores(path: Path, sha256: str, *, embedding: bool = True) -> None:
    """Write what `score` writes of two images and of one that cannot be read."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    word, numbers = pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.float32())
    columns = {
        "image": pa.array(["a.png", "cut.png", "b.png"]),
        "best": pa.array(["Bag", None, "Coat"], word),
        "embedding": pa.array([[1.0] * SIZE, None, [0.0, *[1.0] * (SIZE - 1)]], numbers),
    }
    if not embedding:
        del columns["embedding"]
    facts = json.dumps({"artifact": "int8.onnx", "sha256": sha256})
    write_table(pa.table(columns).replace_schema_metadata({"hemline": facts}), path)


def test_scores_with_embeddings_are_indexed_without_the_images(
    artifact: Path, tmp_path: Path
) -> None:
    scores, index = tmp_path / "scores.parquet", tmp_path / "images.index"
    write_scores(scores, read_stamped(artifact).stamp.payload_sha256)
    result = CliRunner().invoke(cli, ["index", str(artifact), str(scores), "-o", str(index)])
    assert result.exit_code == 0, (result.output, result.exception)
    with ImageIndex(index) as opened:
        found = opened.find(np.ones(SIZE, np.float32), 5)
    assert [(each.name, each.label) for each in found] == [("a.png", "Bag"), ("b.png", "Coat")]
    assert found[1].similarity == pytest.approx(np.sqrt(1 - 1 / SIZE), abs=2**-10)
    with pytest.raises(UsageError, match="has no pictures"):
        page_images.page_images(index, [read_stamped(artifact).stamp])


def test_scores_of_another_file_and_without_embeddings_are_refused(
    artifact: Path, tmp_path: Path
) -> None:
    stamp, scores = read_stamped(artifact).stamp, tmp_path / "scores.parquet"
    write_scores(scores, "0" * 64)
    with pytest.raises(UsageError, match=r"of another file \(int8.onnx\) than int8.tflite"):
        scored(scores, stamp)
    write_scores(scores, stamp.payload_sha256, embedding=False)
    with pytest.raises(UsageError, match="has no embeddings") as caught:
        scored(scores, stamp)
    assert "--with-embedding" in described(caught.value)
    scores.write_bytes(scores.read_bytes()[:-20])
    assert scored(scores, stamp) is None
    with pytest.raises(DataError, match="damaged or cut short"):
        list(embedded(Classifier.load(artifact), str(scores), []))


def test_from_python_one_image_is_searched_for(tmp_path: Path) -> None:
    for image, count in ((tmp_path, 5), (tmp_path / "a.png", 0)):
        with pytest.raises(UsageError, match="similar takes an image file and a count from 1"):
            similar(tmp_path, image, count=count)

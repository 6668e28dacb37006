"""Images read one by one from folders, arrays, tar, TFRecord and Parquet files; damage is told."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from PIL import Image

from hemline.cli import cli
from hemline.data.custom import array_file, npz_archive
from hemline.data.custom.loading import is_unlabelled, load_custom, load_unlabelled
from hemline.data.custom.reading import ReadOptions
from hemline.data.datasets import Images
from hemline.data.image_rows import MappedImages
from hemline.data.sources.items import Item, iterate, parts_of
from hemline.data.sources.tfrecords import masked_crc32c
from hemline.errors import DataError, UsageError

Pixels = npt.NDArray[np.uint8]
COUNT = 6
PIXELS = np.random.default_rng(3).integers(0, 256, (COUNT, 5, 4, 3)).astype(np.uint8)
NAMES = ("daisy", "rose")
LABELS = [NAMES[at % 2] for at in range(COUNT)]
Rows = Iterable[tuple[str, bytes, str | int | None]]


def png(pixels: Pixels) -> bytes:
    """Return an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


FILES = [png(pixels) for pixels in PIXELS]
ROWS = [(f"{at:03d}", FILES[at], LABELS[at]) for at in range(COUNT)]
NUMBERED = [(name, content, NAMES.index(str(label))) for name, content, label in ROWS]


def write_tar(path: Path, rows: Rows, *, beside: str = "") -> None:
    """Write images into folders of their classes, or with files of their classes beside them."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content, label in rows:
            texts = {".cls": f"{label}", ".json": json.dumps({"label": label}), "": ""}
            members = {f"{name}.png": content} | ({f"{name}{beside}": b""} if beside else {})
            for member, data in members.items():
                packed = data or texts[beside].encode()
                info = tarfile.TarInfo(member if beside else f"{label}/{member}")
                info.size = len(packed)
                tar.addfile(info, io.BytesIO(packed))


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it."""
    low, high = value & 127, value >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def field(number: int, content: bytes) -> bytes:
    """Return a field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features: dict[str, bytes | int]) -> bytes:
    """Return a tf.train.Example."""
    entries = b""
    for key, value in features.items():
        kind, content = (1, value) if isinstance(value, bytes) else (3, varint(value))
        entries += field(1, field(1, key.encode()) + field(2, field(kind, field(1, content))))
    return field(1, entries)


def write_tfrecords(path: Path, rows: Rows) -> None:
    """Write records with the features of TensorFlow's scripts."""
    content = b""
    for _, image, label in rows:
        key = "image/class/text" if isinstance(label, str) else "image/class/label"
        value = label.encode() if isinstance(label, str) else int(label or 0)
        data = example({"image/encoded": image, "image/height": 5, key: value})
        head = struct.pack("<Q", len(data))
        content += head + struct.pack("<I", masked_crc32c(head))
        content += data + struct.pack("<I", masked_crc32c(data))
    path.write_bytes(content)


def write_parquet(path: Path, rows: Rows) -> None:
    """Write a column of structs as Hugging Face's library does, with class names if numbered."""
    pa = pytest.importorskip("pyarrow", exc_type=ImportError)
    from pyarrow import parquet

    rows = [*rows]
    labels = [label for _, _, label in rows]
    images = [{"bytes": content, "path": None} for _, content, _ in rows]
    table = pa.table({"image": images, "label": labels})
    if isinstance(labels[0], int):
        features = {"label": {"names": NAMES}}
        facts = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": facts})
    parquet.write_table(table, path, row_group_size=4, compression="none")


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "photos.tar": write_tar,
    "photos.tar.gz": write_tar,
    "photos.tfrecord": write_tfrecords,
    "photos.tfrecord-00000-of-00001": write_tfrecords,
    "photos.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_shard_yields_its_images_and_classes_in_order(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, ROWS)
    items = [*iterate(tmp_path / name)]
    assert [item.label for item in items] == LABELS
    assert len({item.name for item in items}) == COUNT
    assert all(item.name.startswith(f"{name}/") for item in items)
    np.testing.assert_array_equal([item.picture() for item in items], PIXELS)
    assert items == [*iterate(tmp_path)]  # the folder of the shard


@pytest.mark.parametrize("beside", [".cls", ".json"])
def test_a_file_beside_an_image_of_a_tar_names_its_class(tmp_path: Path, beside: str) -> None:
    write_tar(tmp_path / "a.tar", ROWS, beside=beside)
    assert [item.label for item in iterate(tmp_path / "a.tar")] == LABELS
    write_tar(tmp_path / "a.tar", NUMBERED, beside=beside)
    assert [item.label for item in iterate(tmp_path / "a.tar")] == [0, 1] * 3


def test_numbered_classes_have_the_names_that_the_file_has(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", NUMBERED)
    assert [item.label for item in iterate(tmp_path / "a.parquet")] == LABELS
    write_tfrecords(tmp_path / "a.tfrecord", NUMBERED)
    assert [item.label for item in iterate(tmp_path / "a.tfrecord")] == [0, 1] * 3


def test_arrays_and_folders_are_sources_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=PIXELS, y_train=[0, 1] * 3, labels=NAMES)
    np.savez_compressed(tmp_path / "b.npz", x=PIXELS / 255)
    for at, (name, content, label) in enumerate(ROWS):
        place = tmp_path / "photos" / str(label) / f"{at}{name}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    for source, labels in (("a.npz", LABELS), ("b.npz", [None] * COUNT)):
        items = [*iterate(tmp_path / source)]
        np.testing.assert_array_equal([item.picture() for item in items], PIXELS)
        assert [item.label for item in items] == labels
    assert [item.name for item in items][:2] == ["b.npz/x/0", "b.npz/x/1"]
    for pattern in ("photos", "photos/*/*.png"):
        found = [*iterate(f"{tmp_path}/{pattern}")]
        assert [item.label for item in found] == sorted(LABELS)
        assert [item.name for item in found] == sorted(
            f"{label}/{at}{name}.png" for at, (name, _, label) in enumerate(ROWS)
        )
    np.testing.assert_array_equal([item.picture() for item in found], PIXELS[[0, 2, 4, 1, 3, 5]])
    np.savez(tmp_path / "column.npz", x=np.asfortranarray(PIXELS))
    columns = [item.picture() for item in iterate(tmp_path / "column.npz")]
    np.testing.assert_array_equal(columns, PIXELS)


def test_idx_files_have_their_classes_beside_them(tmp_path: Path) -> None:
    x, y = PIXELS[..., 0], bytes([0, 1] * 3)
    for part in ("train", "t10k"):
        header = struct.pack(">IIII", 2051, *x.shape)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(header + x.tobytes())
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(y)) + y)
    items = [*iterate(tmp_path)]
    np.testing.assert_array_equal([item.picture() for item in items], [*x, *x])
    assert [item.label for item in items] == [None] * COUNT + [*y]


def test_a_range_names_shards_and_a_missing_one_is_told(tmp_path: Path) -> None:
    for at in (1, 2, 10):
        write_tar(tmp_path / f"a-{at:03d}.tar", ROWS[:at])
    named = [part.name for part in parts_of(f"{tmp_path}/a-{{001..002}}.tar")]
    assert named == ["a-001.tar", "a-002.tar"]
    assert [part.name for part in parts_of(tmp_path)] == [*named, "a-010.tar"]
    with pytest.raises(DataError, match=r"a-003\.tar does not exist"):
        parts_of(f"{tmp_path}/a-{{001..003}}.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no images, arrays or shards"):
        parts_of(tmp_path / "empty")


def test_checksums_are_those_of_published_examples() -> None:
    """RFC 3720, B.4: 32 zeros, 32 ones; the check value of CRC-32C; short ones."""
    for data, crc in (
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (b"123456789", 0xE3069283),
        (b"a", 0xC1D04330),
        (b"", 0),
    ):
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        assert masked_crc32c(data) == masked


@pytest.mark.parametrize("name", [*WRITERS, "photos.npz"])
def test_a_shard_cut_short_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in WRITERS:
        WRITERS[name](path, ROWS)
    else:
        np.savez(path, x=PIXELS)
    whole = path.read_bytes()
    for size in (len(whole) // 3 + 5, len(whole) // 2 + 5):
        path.write_bytes(whole[:size])
        found: list[Item] = []
        with pytest.raises(DataError, match=f"{name}.*(cut short|cannot be read|not a numpy)"):
            found += iterate(path)
        path.write_bytes(b"")
        with pytest.raises(DataError, match=name):
            [*iterate(path)]


def test_a_tar_cut_between_two_members_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, ROWS)
    path.write_bytes(path.read_bytes()[: 3 * 1024])  # a header and a small file each
    with pytest.raises(DataError, match=r"a\.tar is .*daisy/002\.png \(no header .*byte 3,072\)"):
        [*iterate(path)]


def test_changed_bits_of_a_record_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    write_tfrecords(path, ROWS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tfrecord: record [23] at byte .*damaged"):
        [*iterate(path)]


def test_an_image_that_cannot_be_read_names_itself_alone(tmp_path: Path) -> None:
    rows = [*ROWS]
    rows[1] = ("001", b"nothing", "rose")
    for name, write in WRITERS.items():
        write(tmp_path / name, rows)
        items = [*iterate(tmp_path / name)]
        with pytest.raises(DataError, match=name):
            items[1].picture()
        np.testing.assert_array_equal(items[2].picture(), PIXELS[2])


def test_other_columns_and_features_are_listed(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", exc_type=ImportError)
    from pyarrow import parquet

    parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has columns text: call that of the images 'image'"):
        [*iterate(tmp_path / "a.parquet")]
    data = example({"text": b"a"})
    head = struct.pack("<Q", len(data))
    record = head + struct.pack("<I", masked_crc32c(head)) + data
    (tmp_path / "a.tfrecord").write_bytes(record + struct.pack("<I", masked_crc32c(data)))
    with pytest.raises(DataError, match="has features text: name the image's 'image/encoded'"):
        [*iterate(tmp_path / "a.tfrecord")]


@pytest.mark.medium
def test_tensorflow_writes_records_that_are_read(tmp_path: Path) -> None:
    import tensorflow as tf

    feature = tf.train.Feature
    for packing in ("", "GZIP"):
        with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord"), packing) as writer:
            for content, label in zip(FILES, [0, 300] * 3, strict=True):
                features = {
                    "image": feature(bytes_list=tf.train.BytesList(value=[content])),
                    "label": feature(int64_list=tf.train.Int64List(value=[label])),
                    "score": feature(float_list=tf.train.FloatList(value=[0.5])),
                }
                found = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(found.SerializeToString())
        items = [*iterate(tmp_path / "a.tfrecord")]
        np.testing.assert_array_equal([item.picture() for item in items], PIXELS)
        assert [item.label for item in items] == [0, 300] * 3


@pytest.fixture(scope="module")
def rows() -> list[tuple[str, bytes, str | int | None]]:
    """Return 15 images of each of two classes."""
    drawn = np.random.default_rng(7).integers(0, 256, (30, 5, 4, 3)).astype(np.uint8)
    return [(f"{at:03d}", png(image), NAMES[at % 2]) for at, image in enumerate(drawn)]


def write_folder(folder: Path, rows: Rows) -> None:
    """Write a folder for each class."""
    for name, content, label in rows:
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        (folder / str(label) / f"{name}.png").write_bytes(content)


def load(path: Path, **reading: Any) -> Images:
    """Return a custom data set, with its decoded images beside it."""
    return load_custom(path, ReadOptions(**reading), cache=path.parent / "cache")


@pytest.mark.parametrize("name", WRITERS)
def test_shards_train_as_the_same_images_in_folders(
    tmp_path: Path, name: str, rows: list[tuple[str, bytes, str | int | None]]
) -> None:
    (tmp_path / "shards").mkdir()
    WRITERS[name](tmp_path / "shards" / name.replace("photos", "photos-0"), rows[:20])
    WRITERS[name](tmp_path / "shards" / name.replace("photos", "photos-1"), rows[20:])
    write_folder(tmp_path / "photos", rows)
    for reading in ({}, {"size": (3, 3), "channels": 1}):
        expected = load(tmp_path / "photos", **reading)
        for _ in range(2):  # the second time from the cache
            found = load(tmp_path / "shards", **reading)
            assert found.sha256 == expected.sha256
            assert found.dataset.labels == NAMES
            assert found.test_indices == expected.test_indices
    assert len(found.train_names) + len(found.test_names) == len(rows)


def test_names_of_shards_say_what_part_of_the_data_they_are(
    tmp_path: Path, rows: list[tuple[str, bytes, str | int | None]]
) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, part in (("train-0", rows[:20]), ("valid-0", rows[20:24]), ("test-0", rows[24:])):
        write_tar(folder / f"{name}.tar", [(n, c, NAMES.index(str(y))) for n, c, y in part],
                  beside=".cls")  # fmt: skip
    images = load(folder, labels=NAMES)
    assert len(images.validation_indices) == 4
    assert len(images.test_images) == 6
    assert {name.split("/")[0] for name in images.test_names} == {"test-0.tar"}
    assert images.dataset.labels == NAMES
    assert load(folder).dataset.labels == ("0", "1")
    write_tar(folder / "other.tar", rows[:2])
    with pytest.raises(DataError, match=r"other\.tar is in no part: put train, valid or test"):
        load(folder)


def test_a_shard_that_cannot_be_trained_on_is_told_in_one_line(
    tmp_path: Path,
    rows: list[tuple[str, bytes, str | int | None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_tfrecords(tmp_path / "mixed.tfrecord", [*rows, ("", FILES[0], 3)])
    with pytest.raises(DataError, match="has names of classes and numbers"):
        load(tmp_path / "mixed.tfrecord")
    with tarfile.open(tmp_path / "bare.tar", "w") as tar:
        for name, content, _ in rows:
            info = tarfile.TarInfo(f"{name}.png")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(DataError, match=r"bare\.tar: bare\.tar/000\.png has no class"):
        load(tmp_path / "bare.tar")
    assert is_unlabelled(tmp_path / "bare.tar")
    assert not is_unlabelled(tmp_path / "mixed.tfrecord")
    free = load_unlabelled(tmp_path / "bare.tar", ReadOptions(), cache=tmp_path / "cache")
    assert not free.labelled
    assert len(free.train_images) + len(free.test_images) == len(rows)
    broken = [*rows, ("031", b"nothing", "rose")]
    write_parquet(tmp_path / "broken.parquet", broken)
    with pytest.raises(DataError, match=r"1 of 31 files cannot be read: broken\.parquet/30"):
        load(tmp_path / "broken.parquet")
    skipped = load(tmp_path / "broken.parquet", skip_broken=True)
    assert len(skipped.train_images) + len(skipped.test_images) == len(rows)
    path = tmp_path / "short.tar"
    write_tar(path, rows)
    with pytest.raises(UsageError, match="already contains class names"):
        load(path, labels=NAMES)
    assert "not cached" not in caplog.text
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(DataError, match=r"short\.tar is damaged or cut short at .*png"):
        load(path)


def test_commands_accept_shards(
    tmp_path: Path, rows: list[tuple[str, bytes, str | int | None]]
) -> None:
    write_tar(tmp_path / "photos.tar.gz", rows)
    done = CliRunner().invoke(cli, ["data", "check", "--data", f"{tmp_path}/photos.tar.gz"])
    assert done.exit_code == 0, done.output
    assert "photos: 26 + 4 images, 2 classes, 5 × 4 colour, test part split off" in done.output
    write_tar(tmp_path / "photos.tar", rows)
    (tmp_path / "photos.tar").write_bytes((tmp_path / "photos.tar").read_bytes()[:9000])
    done = CliRunner().invoke(cli, ["data", "check", "--data", f"{tmp_path}/photos.tar"])
    assert done.exit_code == 1
    assert "photos.tar is damaged or cut short at " in str(done.exception)


def test_a_large_array_is_mapped_from_the_cache_with_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(5).integers(0, 256, (90, 6, 6)).astype(np.uint8)
    np.savez_compressed(tmp_path / "a.npz", x=x, y=np.arange(90) % 3)
    small = load(tmp_path / "a.npz")
    assert isinstance(small.train_images, np.ndarray)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(array_file, "_LARGE_BYTES", 1000)
    monkeypatch.setattr(npz_archive, "_BLOCK_BYTES", 1000)
    for _ in range(2):
        large = load(tmp_path / "a.npz")
        assert isinstance(large.train_images, MappedImages)
        assert large.sha256 == small.sha256
        assert large.test_names == small.test_names

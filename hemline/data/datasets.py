"""Data sets: their files, how the files are parsed, and how images are compared.

IDX format: http://yann.lecun.com/exdb/mnist (two zero bytes, type, rank, big-endian sizes, values).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt

from hemline.contract.specs import Preprocessing
from hemline.data.image_rows import ImageRows, blocks
from hemline.data.image_rows import Pixels as Pixels
from hemline.errors import BackendError, DataError, UnknownNameError, remedy
from hemline.files import reason_of

if TYPE_CHECKING:
    from blake3 import blake3

Role = Literal["train_images", "train_labels", "test_images", "test_labels"]
_UNSIGNED_BYTE = 0x08
HASH_BYTES = 16  # of a hash that tells images apart
_LARGEST_FILE_BYTES = 1 << 30  # a .gz that unpacks to more is not one of these data sets


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One IDX file.

    role: what it holds.
    name: file name without .gz.
    sha256: of the decompressed bytes.
    """

    role: Role
    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A row of the DATASETS table, or a custom data set.

    name: key in the table, or derived from the name of the user's folder.
    title: in texts.
    labels: class names in the order of their indices.
    files: the four IDX files; empty for a custom data set.
    system_folder: where a system package installs them; None without one.
    mirrors: folders on HTTPS servers that have the files as .gz.
    debian_package: that contains them; None without one.
    preprocessing: of images of another size, so that they look like these.
    may_flip: whether an image flipped left to right still belongs to its class.
    licence: SPDX expression of the images'; empty where it is not known.
    copyright: the notice that belongs to it.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    files: tuple[DataFile, ...] = ()
    system_folder: str | None = None
    mirrors: tuple[str, ...] = ()
    debian_package: str | None = None
    preprocessing: Preprocessing = "stretch"
    may_flip: bool = True
    licence: str = ""
    copyright: str = ""

    @property
    def is_custom(self) -> bool:
        """Return whether this is a custom data set, which only the user can locate."""
        return not self.files


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """A data set: images uint8 (n, height, width, channels), labels uint8 (n,).

    sha256: file name to hash of the decompressed bytes; for a custom data set, train and test to
        the hash of pixels and labels.
    verified: whether every hash is the official one.
    source: where the files were read, for texts.
    test_indices: of a custom data set without a test part: positions among all images, in their
        order here, that were split off for test, ascending.
    validation_indices: of a custom data set with a validation part: its positions in the training
        images, ascending.
    train_names, test_names: the file of each image of a custom data set, for texts.
    labelled: whether the classes are known; otherwise every label is 0.
    """

    dataset: Dataset
    train_images: ImageRows
    train_labels: Pixels
    test_images: ImageRows
    test_labels: Pixels
    sha256: dict[str, str]
    verified: bool
    source: str
    test_indices: tuple[int, ...] = ()
    validation_indices: tuple[int, ...] = ()
    train_names: tuple[str, ...] = ()
    test_names: tuple[str, ...] = ()
    labelled: bool = True


_NAMES: dict[Role, str] = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def _files(*digests: str) -> tuple[DataFile, ...]:
    rows = zip(_NAMES.items(), digests, strict=True)
    return tuple(DataFile(role=role, name=name, sha256=digest) for (role, name), digest in rows)


DATASETS: dict[str, Dataset] = {
    "fashion-mnist": Dataset(
        name="fashion-mnist",
        title="Fashion-MNIST",
        labels=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        # Of the corrected files of 31 August 2017; results before that day are not comparable.
        files=_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        licence="MIT",
        copyright="Copyright © 2017 Zalando SE, https://tech.zalando.com",
        system_folder="/usr/share/datasets/fashion-mnist",
        mirrors=(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        ),
        debian_package="dataset-fashion-mnist",
        preprocessing="product-photo",
    ),
    "mnist": Dataset(
        name="mnist",
        title="MNIST",
        labels=tuple("0123456789"),
        licence="CC-BY-SA-3.0",
        copyright="Copyright © Yann LeCun and Corinna Cortes; derived from data of NIST",
        files=_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        may_flip=False,
    ),
}


def title_of(name: str) -> str:
    """Return the title of a data set; of a custom one, its name."""
    return DATASETS[name].title if name in DATASETS else name


def find_dataset(name: str) -> Dataset:
    """Return a row of the DATASETS table; raises UnknownNameError with the nearest name."""
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    return DATASETS[name]


def decompress(content: bytes, *, where: str) -> bytes:
    """Return the bytes inside a .gz (or the bytes themselves when they are not compressed).

    Raises DataError, naming `where`, for a damaged archive or one larger than 1 GiB inside.
    """
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            unpacked = stream.read(_LARGEST_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where} is a damaged .gz file ({error}): fetch it again") from error
    if len(unpacked) > _LARGEST_FILE_BYTES:
        raise DataError(f"{where} unpacks to over 1 GiB: unpack it first, if it is what you want")
    return unpacked


def parse_idx(content: bytes, *, where: str) -> Pixels:
    """Return the uint8 array in decompressed IDX bytes; raises DataError, naming `where`."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise DataError(f"{where} is not an IDX file of bytes: fetch it again")
    rank = content[3]
    header = 4 + 4 * rank
    if rank not in (1, 3, 4) or len(content) < header:
        raise DataError(f"{where} has {rank} dimensions, images have 3 and labels 1")
    shape = struct.unpack(f">{rank}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise DataError(f"{where} has {len(content)} bytes instead of {expected}: it is truncated")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def assemble(
    dataset: Dataset, contents: dict[Role, bytes], *, source: str, verified: bool
) -> Images:
    """Make arrays of the decompressed files and check that they belong together.

    Raises DataError when counts differ or a label has no class.
    """
    names = {file.role: f"{source}/{file.name}" for file in dataset.files}
    arrays = {role: parse_idx(content, where=names[role]) for role, content in contents.items()}
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]  # type: ignore[index]
        where = f"{source}: the {part} files"
        if images.ndim == 1 or labels.ndim != 1:
            raise DataError(f"{where} are swapped: images have 3 dimensions, labels 1")
        if len(images) != len(labels):
            raise DataError(f"{where} have {len(images)} images but {len(labels)} labels")
        if len(labels) == 0 or labels.max() >= len(dataset.labels):
            raise DataError(
                f"{where} have labels outside 0 … {len(dataset.labels) - 1}",
                remedy=remedy("class names"),
            )
    if arrays["train_images"].shape[1:] != arrays["test_images"].shape[1:]:
        raise DataError(f"{source}: train and test images differ in size")
    return Images(
        dataset=dataset,
        train_images=_with_channels(arrays["train_images"]),
        train_labels=arrays["train_labels"],
        test_images=_with_channels(arrays["test_images"]),
        test_labels=arrays["test_labels"],
        sha256={f.name: hashlib.sha256(contents[f.role]).hexdigest() for f in dataset.files},
        verified=verified,
        source=source,
    )


def image_hashes(images: ImageRows) -> Iterator[bytes]:
    """Yield a 16-byte hash of each image of uint8 (n, …), to compare images by content."""
    for image in images:
        yield new_hash(np.ascontiguousarray(image).data).digest(HASH_BYTES)


def new_hash(content: bytes | memoryview = b"") -> blake3:
    """Return a hash of bytes, to be updated: in a sixth of the time of those in Python's library.

    Raises BackendError without blake3, which a device need not have.
    """
    try:
        from blake3 import blake3
    except ImportError as error:
        raise BackendError("telling images apart needs blake3: pip install blake3") from error
    return blake3(content)


def array_sha256(*arrays: ImageRows, start: bytes = b"") -> str:
    """Return the SHA-256 of arrays' bytes in row-major order, after those of `start`."""
    digest = hashlib.sha256(start)
    for array in arrays:
        for block in (array,) if isinstance(array, np.ndarray) else blocks(array):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def without_copies(images: ImageRows, others: Iterable[ImageRows]) -> npt.NDArray[np.intp]:
    """Return positions of `images` (uint8 (n, …)) that occur in none of `others`, by content."""
    elsewhere = {digest for other in others for digest in image_hashes(other)}
    fresh = [at for at, digest in enumerate(image_hashes(images)) if digest not in elsewhere]
    return np.asarray(fresh, np.intp)


def read_file(path: Path) -> bytes:
    """Return the decompressed bytes of an IDX file, packed or not; raises DataError.

    A file that is not packed is mapped, not read.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(2) == b"\x1f\x8b" or not path.stat().st_size:
                return decompress(path.read_bytes(), where=str(path))
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            return cast("bytes", memoryview(mapped))
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason_of(error)}") from error


def holds_idx(folder: Path) -> bool:
    """Return whether a folder has files with the names of the published IDX files."""
    try:
        names = {path.name.removesuffix(".gz") for path in folder.iterdir()}
    except OSError as error:
        raise DataError(f"cannot read {folder}: {reason_of(error)}") from error
    return not names.isdisjoint(_NAMES.values())


def read_folder(dataset: Dataset, folder: Path) -> dict[Role, bytes]:
    """Return the decompressed IDX files of a data set in a folder; raises DataError."""
    contents: dict[Role, bytes] = {}
    for file in dataset.files:
        candidates = [folder / file.name, folder / f"{file.name}.gz"]
        try:
            path = next((each for each in candidates if each.exists()), None)
        except OSError as error:
            raise DataError(f"cannot read {folder}: {reason_of(error)}") from error
        if path is None:
            raise DataError(f"no {file.name} (or .gz) in {folder}")
        contents[file.role] = read_file(path)
    return contents


def _with_channels(images: Pixels) -> Pixels:
    return images[..., np.newaxis] if images.ndim == 3 else images

"""Find a data set: the user's folder, the cache, the system's folder, HTTPS mirrors, Debian.

The first source that has all files with the right SHA-256 wins. Only verified files enter the
cache. A folder that the user names may hold other files, which are reported as unverified, or a
custom data set (hemline/data/custom/).
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from hemline import files
from hemline.data.custom.cache_folders import DECODED
from hemline.data.custom.loading import load_custom
from hemline.data.custom.reading import ReadOptions, few
from hemline.data.datasets import (
    DATASETS,
    DataFile,
    Dataset,
    Images,
    Role,
    assemble,
    decompress,
    find_dataset,
    holds_idx,
    read_folder,
)
from hemline.debian_packages import unpack_packages
from hemline.errors import BusyError, DataError, FetchError, HemlineError, UsageError, remedy
from hemline.folders import TemporaryFolder
from hemline.progress import Progress
from hemline.user_folders import cache_folder, cache_folder_if_any

log = logging.getLogger(__name__)

REACH_SECONDS = 8.0  # to resolve a name and connect; a filtered network lets both hang
STALL_SECONDS = 10.0  # longest wait for a connection and for the next bytes
FILE_SECONDS = 300.0  # longest time for one file: 26 MB at 90 kB/s
_LARGEST_DOWNLOAD_BYTES = 64 << 20  # the largest file has 26 MB
_CHUNK_BYTES = 1 << 16
_SIZE = (28, 28)  # height and width of the images in DATASETS


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """Where to look for a data set.

    folder: a folder or an .npz of the user; no other source is tried then.
    cache: folder of all data sets; None for the user's cache folder.
    offline: use no network.
    mirrors: instead of those of the data set.
    reading: how a custom data set is read.
    """

    folder: Path | None = None
    cache: Path | None = None
    offline: bool = False
    mirrors: tuple[str, ...] | None = None
    reading: ReadOptions = field(default_factory=ReadOptions)

    @classmethod
    def of(cls, data: FetchOptions | Path | str | None) -> FetchOptions:
        """Return options for a path of the user's, options as they are, or those for None."""
        return (
            data
            if isinstance(data, FetchOptions)
            else cls(folder=None if data is None else Path(data))
        )

    @property
    def custom(self) -> Path | None:
        """Return the folder or file if it is a custom data set.

        A folder with IDX files is one if class names are given for it, else a published one. An
        empty folder is neither. Raises DataError for a folder that cannot be read.
        """
        if self.folder is None or not self.folder.is_dir():
            return self.folder
        if holds_idx(self.folder):
            return None if self.reading.labels is None else self.folder
        try:
            empty = next(self.folder.iterdir(), None) is None
        except OSError as error:
            raise DataError(f"cannot read {self.folder}: {files.reason_of(error)}") from error
        return None if empty else self.folder

    @property
    def decoded(self) -> Path | None:
        """Return the folder of the cache for decoded images; None without a place for it."""
        cache = self.cache or cache_folder_if_any()
        return None if cache is None else cache / DECODED

    def with_class_names(self, labels: tuple[str, ...]) -> FetchOptions:
        """Return options by which IDX files of another data set are read as custom images."""
        if self.custom is not None or self.folder is None:
            return self
        return replace(self, reading=replace(self.reading, labels=labels))

    def for_model(
        self, shape: tuple[int, ...], name: str = "the model", known: dict[str, str] | None = None
    ) -> FetchOptions:
        """Return options that read custom images at a model's (height, width, channels).

        Broken files are left out, as they were for the training; others change the hash. `known`
        is known_sha256 of ReadOptions. Raises UsageError where another size was asked for.
        """
        size, channels = (shape[0], shape[1]), shape[2]
        asked = self.reading
        if asked.size not in (None, size) or asked.channels not in (None, channels):
            what = f"{name} needs images of {size[0]}x{size[1]} with {channels} channels"
            raise UsageError(what, remedy=remedy("read as trained"))
        own = replace(asked, size=size, channels=channels, skip_broken=True, known_sha256=known)
        return replace(self, reading=own)


def load_images(name: str, options: FetchOptions | None = None) -> Images:
    """Return a data set's arrays from the first source that has it.

    If `options` names a custom data set, it is returned, whatever the name. Raises FetchError with
    the reason of each source, DataError for a damaged folder of the user.
    """
    options = options or FetchOptions()
    if options.custom is not None:
        return load_custom(options.custom, options.reading, cache=options.decoded)
    dataset = find_dataset(name)
    if options.folder is not None:
        return _from_user(dataset, options.folder)
    cache = (options.cache or cache_folder()) / dataset.name
    reasons = []
    for title, source in _sources(dataset, options, cache):
        try:
            contents = source()
            for file in dataset.files:
                _require_hash(file, contents[file.role], title)
            images = assemble(dataset, contents, source=title, verified=True)
        except DataError as error:
            reasons.append(f"{title}: {error}")
            log.info("%s: %s", title, error)
            continue
        if title != "cache":
            _keep(dataset, cache, contents)
            log.info("%s found in %s", dataset.title, title)
        return images
    raise FetchError(
        f"{dataset.title} was not found ({'; '.join(reasons)})", remedy=remedy("put data")
    )


def _from_user(dataset: Dataset, folder: Path) -> Images:
    contents = read_folder(dataset, folder)
    digests = {file: hashlib.sha256(contents[file.role]).hexdigest() for file in dataset.files}
    _require_no_others(dataset, folder, digests)
    verified = all(digest == file.sha256 for file, digest in digests.items())
    images = assemble(dataset, contents, source=str(folder), verified=verified)
    if not verified:
        _require_alike(images)
        log.warning(
            "%s has unverified files: not the official %s; its class names are used: %s. For "
            "another data set, give its class names",
            folder, dataset.title, few(dataset.labels, 3),
        )  # fmt: skip
    return images


def _require_alike(images: Images) -> None:
    """Raise DataError for files that cannot be those of a published data set, by their contents."""
    dataset, size = images.dataset, images.train_images.shape[1:3]
    classes = len(np.unique(images.train_labels))
    if size != _SIZE or classes != len(dataset.labels):
        raise DataError(
            f"{images.source} contains {size[0]} × {size[1]} images of {classes} classes under "
            f"the file names of {dataset.title}, which has {_SIZE[0]} × {_SIZE[1]} images of "
            f"{len(dataset.labels)} classes",
            remedy=remedy("class names"),
        )


def _require_no_others(dataset: Dataset, folder: Path, digests: dict[DataFile, str]) -> None:
    """Raise DataError for official files of another data set, or in each other's place."""
    found = {file: _known(digest) for file, digest in digests.items()}
    others = {known[0].name: known[0] for known in found.values() if known is not None}
    if len(others) == 1 and dataset.name not in others:
        (other,) = others.values()
        raise DataError(
            f"{folder} contains {other.title}, not {dataset.title}",
            remedy=remedy("other data set", title=other.title, dataset=other.name),
        )
    for file, known in found.items():
        if known is not None and (known[0].name, known[1].name) != (dataset.name, file.name):
            what = f"{known[0].title} {known[1].name}"
            raise DataError(
                f"{folder}/{file.name} is really {what}: replace it with the right file"
            )


def _require_hash(file: DataFile, content: bytes, where: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest == file.sha256:
        return
    known = _known(digest)
    what = (
        f"is {known[0].title} {known[1].name}"
        if known
        else f"has SHA-256 {digest[:12]}… instead of {file.sha256[:12]}…"
    )
    raise DataError(f"{file.name} from {where} {what}")


def _known(digest: str) -> tuple[Dataset, DataFile] | None:
    """Return the official file with this SHA-256, and its data set."""
    for dataset in DATASETS.values():
        for file in dataset.files:
            if file.sha256 == digest:
                return dataset, file
    return None


Source = Callable[[], dict[Role, bytes]]


def _sources(dataset: Dataset, options: FetchOptions, cache: Path) -> list[tuple[str, Source]]:
    found: list[tuple[str, Source]] = [("cache", partial(read_folder, dataset, cache))]
    if (system := dataset.system_folder) is not None:
        found.append((system, partial(read_folder, dataset, Path(system))))
    if options.offline:
        return found
    mirrors = dataset.mirrors if options.mirrors is None else options.mirrors
    found += [(mirror, partial(_download, dataset, mirror)) for mirror in mirrors]
    if (package := dataset.debian_package) is not None and options.mirrors is None:
        found.append((f"Debian package {package}", partial(_unpack, dataset, package)))
    return found


def _keep(dataset: Dataset, cache: Path, contents: dict[Role, bytes]) -> None:
    """Keep verified files in the cache; go on without a cache that is not writable."""
    try:
        with files.locked(cache):
            for file in dataset.files:
                files.write_bytes(cache / file.name, contents[file.role])
    except BusyError:
        log.info("another process is caching %s", dataset.title)
    except HemlineError as error:
        log.warning("not cached: %s", error)


def _download(dataset: Dataset, mirror: str) -> dict[Role, bytes]:
    reach(mirror)
    contents: dict[Role, bytes] = {}
    for file in dataset.files:
        url = f"{mirror}/{file.name}.gz"
        log.info("downloading %s", url)
        contents[file.role] = decompress(download(url), where=url)
        _require_hash(file, contents[file.role], mirror)  # before the next one costs time
    return contents


def reach(url: str) -> None:
    """Raise DataError unless the host of an address accepts a connection in time.

    Name resolution has no time-out of its own, and urllib's counts for each address of a host anew.
    """
    import socket

    if urllib.request.getproxies():
        return  # the proxy resolves names and connects
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (80 if parts.scheme == "http" else 443)
    answer: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=REACH_SECONDS / 2).close()
            answer.append("")
        except OSError as error:
            answer.append(files.reason_of(error))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(REACH_SECONDS)
    if not answer:
        raise DataError(f"{host} did not answer in {REACH_SECONDS:g} s")
    if answer[0]:
        raise DataError(f"{host} cannot be reached ({answer[0]})")


def download(
    url: str, *, largest: int = _LARGEST_DOWNLOAD_BYTES, seconds: float = FILE_SECONDS
) -> bytes:
    """Return what is at an address, of at most so many bytes, in time; raises DataError."""
    deadline = time.monotonic() + seconds
    received = bytearray()
    try:
        # the address comes from the DATASETS table or from the caller, and the content is hashed
        with (
            urllib.request.urlopen(url, timeout=STALL_SECONDS) as response,  # noqa: S310
            Progress("downloading", promised := _length(response)) as progress,
        ):
            while chunk := response.read1(_CHUNK_BYTES):
                received += chunk
                progress.show(f"{len(received) / 1e6:.1f} MB", done=len(received))
                if len(received) > largest:
                    raise DataError(f"{url} sent more than {largest:,} bytes")
                if time.monotonic() > deadline:
                    raise DataError(f"{url} was incomplete after {seconds:g} s")
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        reason = files.reason_of(cause) if isinstance(cause, OSError) else str(cause)
        raise DataError(f"{url} failed ({reason or repr(error)})") from error
    if promised is not None and len(received) != promised:
        raise DataError(f"{url} sent {len(received)} of {promised} bytes")
    return bytes(received)


def _length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length")
    return int(text) if text else None


def _unpack(dataset: Dataset, package: str) -> dict[Role, bytes]:
    """Take the files out of a Debian package."""
    with TemporaryFolder() as name:
        unpack_packages([package], Path(name))
        system = Path(dataset.system_folder or "/").relative_to("/")
        return read_folder(dataset, Path(name) / system)

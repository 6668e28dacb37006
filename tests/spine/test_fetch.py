"""Finding data: sources in order, hashes that decide, faults with real servers and files."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hemline.data import fetch
from hemline.data.datasets import DATASETS, Dataset
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import DataError, FetchError, UnknownNameError
from hemline.remedies import described

Answer = Callable[[http.server.BaseHTTPRequestHandler, bytes], None]


@pytest.fixture
def small(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Put a data set into the table whose official files are the small ones."""
    row = replace(
        DATASETS["fashion-mnist"],
        name="small",
        title="Small",
        files=tuple(
            replace(file, sha256=hashlib.sha256((data_folder / file.name).read_bytes()).hexdigest())
            for file in DATASETS["fashion-mnist"].files
        ),
        system_folder=None,
        mirrors=(),
        debian_package=None,
    )
    monkeypatch.setitem(DATASETS, "small", row)
    return row


def send_all(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def send_half(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[: len(body) // 2])


def send_altered(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
    content = bytearray(gzip.decompress(body))
    content[-1] ^= 1
    send_all(request, gzip.compress(bytes(content)))


def send_page(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
    send_all(request, b"<html>log in first</html>")


def send_nothing(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_error(404)


def send_nonsense(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
    request.wfile.write(b"this is no HTTP\r\n\r\n")


def send_no_length(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "many")
    request.end_headers()
    request.wfile.write(body)


def hang(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[:10])
    request.wfile.flush()
    threading.Event().wait(60)  # in a thread that ends with the process: the client leaves first


@pytest.fixture
def serve(data_folder: Path) -> Iterator[Callable[[Answer], str]]:
    """Start real servers on the loopback that answer each file in a given way."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1].removesuffix(".gz")
                answer(self, gzip.compress((data_folder / name).read_bytes(), 1))

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/data"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("small")
def test_a_mirror_fills_the_cache_and_the_cache_is_used_next(
    serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    mirror = serve(send_all)
    options = FetchOptions(cache=tmp_path, mirrors=(mirror,))
    assert load_images("small", options).source == mirror
    again = load_images("small", replace(options, offline=True))
    assert (again.source, again.verified) == ("cache", True)
    assert again.train_images.shape == (800, 28, 28, 1)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (send_half, "sent|failed"),
        (send_altered, "has SHA-256"),
        (send_page, "has SHA-256"),
        (send_nothing, "Not Found|404"),
        (send_nonsense, "failed .*this is no HTTP"),
        (send_no_length, "failed"),
    ],
)
def test_a_bad_mirror_is_told_and_the_next_one_is_used(
    serve: Callable[[Answer], str], tmp_path: Path, answer: Answer, reason: str
) -> None:
    bad, good = serve(answer), serve(send_all)
    with pytest.raises(FetchError, match=reason):
        load_images("small", FetchOptions(cache=tmp_path, mirrors=(bad,)))
    assert not list(tmp_path.rglob("*ubyte*")), "nothing unverified may stay in the cache"
    assert load_images("small", FetchOptions(cache=tmp_path, mirrors=(bad, good))).source == good


@pytest.mark.usefixtures("small")
def test_a_mirror_that_hangs_is_left_after_the_time_out(
    serve: Callable[[Answer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "STALL_SECONDS", 0.2)
    with pytest.raises(FetchError, match="timed out"):
        load_images("small", FetchOptions(cache=tmp_path, mirrors=(serve(hang),)))


@pytest.mark.usefixtures("small")
def test_a_name_that_does_not_resolve_is_told(tmp_path: Path) -> None:
    # RFC 2606 keeps .invalid from ever resolving
    options = FetchOptions(cache=tmp_path, mirrors=("https://mirror.invalid/data",))
    with pytest.raises(FetchError, match=r"mirror\.invalid"):
        load_images("small", options)


def test_a_damaged_cache_is_not_used(small: Dataset, data_folder: Path, tmp_path: Path) -> None:
    for file in small.files:
        (tmp_path / "small").mkdir(exist_ok=True)
        (tmp_path / "small" / file.name).write_bytes((data_folder / file.name).read_bytes()[:-1])
    with pytest.raises(FetchError, match="cache: train-images-idx3-ubyte from cache has SHA-256"):
        load_images("small", FetchOptions(cache=tmp_path, offline=True))


def test_a_read_only_cache_costs_only_the_cache(
    serve: Callable[[Answer], str], small: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    options = FetchOptions(cache=tmp_path / "cache", mirrors=(serve(send_all),))
    assert len(load_images("small", options).test_labels) == 200


def test_a_users_folder_with_other_files_is_unverified_and_never_cached(
    data_folder: Path, tmp_path: Path
) -> None:
    options = FetchOptions(folder=data_folder, cache=tmp_path)
    images = load_images("fashion-mnist", options)
    assert not images.verified
    assert list(tmp_path.rglob("*ubyte")) == []


def test_swapped_official_files_are_recognised(
    small: Dataset, data_folder: Path, tmp_path: Path
) -> None:
    train, test = small.files[0].name, small.files[2].name
    for file in small.files:
        (tmp_path / file.name).write_bytes((data_folder / file.name).read_bytes())
    (tmp_path / train).write_bytes((data_folder / test).read_bytes())
    with pytest.raises(DataError, match=f"{train} is really Small {test}"):
        load_images("small", FetchOptions(folder=tmp_path))


@pytest.mark.usefixtures("small")
def test_a_folder_with_another_data_set_is_told_as_such(data_folder: Path) -> None:
    with pytest.raises(DataError, match="contains Small, not Fashion-MNIST$") as told:
        load_images("fashion-mnist", FetchOptions(folder=data_folder))
    assert str(told.value).startswith(str(data_folder))
    assert "name another folder, or Small with --dataset small" in described(told.value)


def test_images_against_labels_are_told_apart(data_folder: Path, tmp_path: Path) -> None:
    names = [file.name for file in DATASETS["fashion-mnist"].files]
    for name, other in zip(names, (names[1], names[0], *names[2:]), strict=True):
        (tmp_path / name).write_bytes((data_folder / other).read_bytes())
    with pytest.raises(DataError, match="train files are swapped"):
        load_images("fashion-mnist", FetchOptions(folder=tmp_path))


@pytest.mark.parametrize("damage", ["is truncated", "not an IDX file", "damaged"])
def test_a_damaged_file_of_the_user_is_named(
    data_folder: Path, tmp_path: Path, damage: str
) -> None:
    for file in DATASETS["fashion-mnist"].files:
        (tmp_path / file.name).write_bytes((data_folder / file.name).read_bytes())
    path = tmp_path / "train-images-idx3-ubyte"
    content = path.read_bytes()
    path.write_bytes(
        {
            "is truncated": content[:-5],
            "not an IDX file": b"PK" + content[2:],
            "damaged": gzip.compress(content)[:-20],
        }[damage]
    )
    with pytest.raises(DataError, match=f"train-images-idx3-ubyte.*{damage}"):
        load_images("fashion-mnist", FetchOptions(folder=tmp_path))


def test_a_file_that_promises_more_than_memory_is_refused(
    data_folder: Path, tmp_path: Path
) -> None:
    for file in DATASETS["fashion-mnist"].files:
        (tmp_path / file.name).write_bytes((data_folder / file.name).read_bytes())
    huge = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 4)  # 2⁶⁴ is 0 in 64 bits
    (tmp_path / "train-images-idx3-ubyte").write_bytes(huge)
    with pytest.raises(DataError, match="16 bytes instead of"):
        load_images("fashion-mnist", FetchOptions(folder=tmp_path))


def test_a_folder_without_the_files_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte \(or \.gz\) in"):
        load_images("fashion-mnist", FetchOptions(folder=tmp_path))


def test_an_unknown_data_set_gets_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'fashion-mnist'"):
        load_images("fashon-mnist")


def test_packed_and_plain_files_give_the_same_arrays(data_folder: Path, tmp_path: Path) -> None:
    for file in DATASETS["fashion-mnist"].files:
        content = (data_folder / file.name).read_bytes()
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(content))
    packed = load_images("fashion-mnist", FetchOptions(folder=tmp_path))
    plain = load_images("fashion-mnist", FetchOptions(folder=data_folder))
    assert np.array_equal(packed.train_images, plain.train_images)
    assert packed.sha256 == plain.sha256

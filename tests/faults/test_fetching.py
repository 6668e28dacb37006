"""Fetching from a real server into a real cache: killed, at once, without a place to keep it."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import HANG_SECONDS

from hemline.data.datasets import DATASETS

NAMES = [file.name for file in DATASETS["fashion-mnist"].files]
slow = pytest.mark.slow
LOOPBACK = (sys.executable, str(Path(__file__).with_name("loopback.py")))
PAUSE_SECONDS = 0.003  # between the pieces of a file, so that there is a middle to be killed in


@pytest.fixture
def mirror(data_folder: Path) -> Iterator[str]:
    """Serve the small data set on the loopback, each file in ten pieces."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[-1].removesuffix(".gz")
            body = gzip.compress((data_folder / name).read_bytes(), 1)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            size = len(body) // 10 + 1
            try:
                for at in range(0, len(body), size):
                    self.wfile.write(body[at : at + size])
                    time.sleep(PAUSE_SECONDS)
            except OSError:
                pass  # the client was killed

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/data"
    server.shutdown()
    server.server_close()


def whole(cache: Path, data_folder: Path) -> list[str]:
    """Return the files that are in the cache; each one must be whole."""
    there = [name for name in NAMES if (cache / name).exists()]
    for name in there:
        digest = hashlib.sha256((cache / name).read_bytes()).hexdigest()
        assert digest == hashlib.sha256((data_folder / name).read_bytes()).hexdigest(), name
    return there


@pytest.fixture
def cache(hemline) -> Path:
    hemline.environment["XDG_CACHE_HOME"] = str(hemline.folder / "kept")
    return hemline.folder / "kept" / "hemline" / "fashion-mnist"


@pytest.mark.medium
def test_two_fetches_at_once_both_succeed(
    hemline, mirror: str, data_folder: Path, cache: Path
) -> None:
    both = [hemline.start(mirror, data_folder, "data", "fetch", command=LOOPBACK) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=HANG_SECONDS)
        assert process.returncode == 0, errors
        assert len(errors.splitlines()) == 2, errors
        assert errors.endswith("next: hemline train\n"), errors
    assert whole(cache, data_folder) == NAMES
    assert not list(cache.glob(".*partial*"))
    assert hemline.run("", data_folder, "data", "check", command=LOOPBACK).code == 0


def kill_after(process: subprocess.Popen[str], seconds: float) -> None:
    time.sleep(seconds)
    process.kill()
    process.communicate()


@pytest.mark.medium
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=slow) for n in range(1, 8))])
def test_a_fetch_that_is_killed_leaves_no_half_file(
    hemline, mirror: str, data_folder: Path, cache: Path, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(3):  # starting takes 0.1 s, downloading 0.15 s
        process = hemline.start(mirror, data_folder, "data", "fetch", command=LOOPBACK)
        kill_after(process, chance.uniform(0.05, 0.4))
        whole(cache, data_folder)
    assert hemline.run(mirror, data_folder, "data", "fetch", command=LOOPBACK).code == 0
    assert whole(cache, data_folder) == NAMES


@pytest.mark.medium
@pytest.mark.parametrize("written", [0, *(pytest.param(n, marks=slow) for n in (1, 2, 3))])
def test_a_fetch_that_is_killed_while_it_writes_leaves_no_half_file(
    hemline, mirror: str, data_folder: Path, cache: Path, written: int
) -> None:
    """Killed when so many files are in the cache and the next one is being written.

    A file is written in a moment, in which a busy machine may not look: then it is tried again.
    """
    code = 0
    while code != -9:
        shutil.rmtree(cache, ignore_errors=True)
        process = hemline.start(mirror, data_folder, "data", "fetch", command=LOOPBACK)
        while process.poll() is None and not list(cache.glob(f".{NAMES[written]}*")):
            pass
        process.kill()
        process.communicate()
        code = process.returncode
    assert len(whole(cache, data_folder)) >= written
    assert hemline.run(mirror, data_folder, "data", "fetch", command=LOOPBACK).code == 0
    assert whole(cache, data_folder) == NAMES
    assert not list(cache.glob(".*partial*")), "what the killed one left is removed"


def test_a_cache_on_a_full_disk_costs_only_the_cache(
    hemline, mirror: str, data_folder: Path, small_disk
) -> None:
    disk = small_disk(256)  # the four files have 780 kB
    hemline.environment["XDG_CACHE_HOME"] = str(disk)
    ended = hemline.run(mirror, data_folder, "data", "fetch", command=LOOPBACK)
    assert ended.code == 0
    assert "not cached: cannot write" in ended.errors[0]
    assert "no space left on device" in ended.errors[0]
    whole(disk / "hemline" / "fashion-mnist", data_folder)
    assert not [path for path in disk.rglob("*") if path.is_file() and path.stat().st_size > 0]


@pytest.mark.parametrize("mode", [0o555, pytest.param(0o000, marks=slow)])
def test_a_home_without_permission_costs_only_the_cache(
    powerless, mirror: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    home = powerless.folder / "home"
    home.mkdir()
    home.chmod(mode)
    powerless.environment["HOME"] = str(home)
    ended = powerless.run(mirror, data_folder, "data", "fetch", command=LOOPBACK)
    home.chmod(0o755)
    assert ended.code == 0
    assert "not cached: cannot write to" in ended.errors[0]
    assert "permission denied" in ended.errors[0]
    assert list(home.iterdir()) == []


def test_a_cache_that_cannot_be_read_is_passed_over(
    powerless, mirror: str, data_folder: Path
) -> None:
    place = powerless.folder / "kept" / "hemline" / "fashion-mnist"
    place.mkdir(parents=True)
    for name in NAMES:
        (place / name).write_bytes((data_folder / name).read_bytes())
        (place / name).chmod(0)
    powerless.environment["XDG_CACHE_HOME"] = str(powerless.folder / "kept")
    ended = powerless.run("-q", "data", "check")
    assert "permission denied" in ended.error
    assert ended.code == 1
    assert powerless.run(mirror, data_folder, "data", "fetch", command=LOOPBACK).code == 0


def test_a_user_without_a_home_is_told_what_to_set(
    hemline, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that is started with a mere number for its user."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    hemline.prefix = ("unshare", "--user", "--map-user=54321", "--map-group=54321")
    if hemline.run(command=("true",)).code != 0:
        pytest.skip("a user without a name cannot be had here")
    ended = hemline.run("data", "check")
    assert "set XDG_CACHE_HOME to a folder" in ended.error
    assert ended.code == 1
    assert hemline.run("data", "check", "--data", data_folder).code == 0

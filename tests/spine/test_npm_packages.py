"""npm packages: fetched once by the user's npm, checked against the lock."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from hemline import npm_packages
from hemline.errors import DataError
from hemline.npm_packages import FILES, fetched, locked

NAME = "@litertjs/core"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the process a cache and programs of its own; return the folder of the programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return programs


def npm(programs: Path, script: str) -> None:
    path = programs / "npm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def archive(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as members:
        for name in FILES[NAME]:
            member = tarfile.TarInfo(f"package/{name}")
            member.size = 3
            members.addfile(member, io.BytesIO(b"abc"))
    return path


def test_every_package_is_locked_and_no_address_is_written() -> None:
    assert set(locked()) == set(FILES)
    assert all(digest.startswith("sha512-") for _, digest in locked().values())
    assert "://" not in npm_packages._LOCK.read_text()


def test_a_package_is_fetched_once_and_scripts_become_modules(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64
    import hashlib

    made = archive(tmp_path / "made.tgz")
    digest = base64.b64encode(hashlib.sha512(made.read_bytes()).digest()).decode()
    lock = tmp_path / "npm.lock"
    lock.write_text(f"{NAME} 1.0 sha512-{digest}\n")
    monkeypatch.setattr(npm_packages, "_LOCK", lock)
    npm(folders, f'echo "$@" >> {tmp_path}/calls; cp {made} .')
    folder = fetched(NAME)
    assert sorted(path.suffix for path in folder.iterdir()) == [".mjs", ".mjs", ".wasm", ".wasm"]
    assert (folder / "litert_wasm_internal.mjs").read_bytes().endswith(b"default ModuleFactory;\n")
    assert fetched(NAME) == folder
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert call.startswith(f"pack {NAME}@1.0 ")


def test_other_bytes_than_those_in_the_lock_are_refused(folders: Path, tmp_path: Path) -> None:
    npm(folders, f"cp {archive(tmp_path / 'made.tgz')} .")
    with pytest.raises(DataError, match="npm gave other bytes for @litertjs/core 2.5.3"):
        fetched(NAME)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".wasm"]


def test_a_failure_of_npm_is_one_line_with_its_reason(folders: Path) -> None:
    errors = "npm error code E404\nnpm error errno 1\nnpm error 404 Not Found\nnpm error advice"
    npm(folders, f"printf '{errors}' >&2; exit 1")
    with pytest.raises(DataError, match=r"cannot be fetched: 404 Not Found; it needs npm"):
        fetched(NAME)


def test_without_npm_it_is_named(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folders))
    with pytest.raises(DataError, match=r"npm is not installed; it needs npm \(Debian"):
        fetched(NAME)

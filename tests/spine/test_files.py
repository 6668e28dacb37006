"""Files are written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hemline import files
from hemline.errors import BusyError, FileFormatError, HemlineError, StorageError


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    files.write_bytes(path, b"old")

    def half_a_write() -> None:
        with files.replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        half_a_write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_has_the_usual_permissions(tmp_path: Path) -> None:
    code = (
        "import pathlib; from hemline import files\n"
        f"files.write_bytes(pathlib.Path({str(tmp_path / 'file')!r}), b'')"
    )
    subprocess.run([sys.executable, "-c", code], umask=0o027, check=True)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_write_leaves_the_umask_of_the_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that set it and set it back could leave it at zero."""

    def refuse(mask: int) -> int:
        raise AssertionError(f"umask {mask:o}")

    monkeypatch.setattr(os, "umask", refuse)
    files.write_bytes(tmp_path / "file", b"")
    assert (tmp_path / "file").exists()


def test_a_folder_that_is_a_file_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HemlineError, match="cannot write .*file/below"):
        files.write_bytes(tmp_path / "file" / "below", b"")


def test_a_missing_file_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot read .*nothing: no such file"):
        files.read_bytes(tmp_path / "nothing")


def test_a_folder_held_by_another_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from hemline.files import locked\n"
        f"with locked(pathlib.Path({str(tmp_path)!r})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with (
            pytest.raises(BusyError, match="another hemline command is using"),
            files.locked(tmp_path),
        ):
            pass
        child.communicate("")
    with files.locked(tmp_path):
        pass  # free again


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path: Path) -> None:
    def work(folder: Path, *names: str) -> None:
        with files.locked(folder):
            for name in names:
                (folder / name).touch()
            raise OSError("the work failed")

    for folder, names in ((tmp_path / "new", ()), (tmp_path / "kept", ("a",)), (tmp_path, ())):
        with pytest.raises(OSError, match="the work failed"):
            work(folder, *names)
    assert {path.name for path in tmp_path.iterdir()} == {"kept", ".lock"}
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"a", ".lock"}


def test_a_lock_whose_folder_was_removed_meanwhile_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    folder, real, seen = tmp_path / "folder", fcntl.flock, []

    def flock(stream: Any, operation: int) -> None:
        if not seen:  # as another process would do on its way out
            (folder / ".lock").unlink()
            folder.rmdir()
        seen.append(stream)
        real(stream, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with files.locked(folder):
        assert os.path.samestat(os.fstat(seen[-1].fileno()), (folder / ".lock").stat())
    assert len(seen) == 2


def test_equal_values_have_equal_fingerprints_in_any_order() -> None:
    assert files.fingerprint({"a": 1, "b": [2]}) == files.fingerprint({"b": [2], "a": 1})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_bytes(path, b"text")
        assert os.read(reader, 10) == b"text"
    finally:
        os.close(reader)
    assert path.is_fifo()
    with pytest.raises(StorageError, match="is a directory"):
        files.write_bytes(tmp_path, b"text")

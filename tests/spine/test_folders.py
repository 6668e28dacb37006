"""Temporary folders: what a killed process leaves, the next one removes; what is in use stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hemline import folders
from hemline.folders import TemporaryFolder

CODE = """
import sys, tempfile, pathlib
tempfile.tempdir = sys.argv[1]
from hemline.folders import TemporaryFolder
folder = TemporaryFolder()
(pathlib.Path(folder.name) / "half.bin").write_bytes(b"half")
print(folder.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which all temporary ones are made, however new they are."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folders, "_NEW_SECONDS", -1)
    return tmp_path


def start(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that holds a temporary folder."""
    child = subprocess.Popen(
        [sys.executable, "-c", CODE, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def end(child: subprocess.Popen[str], by: signal.Signals) -> None:
    child.send_signal(by)
    child.communicate()
    assert child.returncode == -by


def test_a_folder_is_removed_at_the_end(place: Path) -> None:
    with TemporaryFolder() as name:
        assert [str(path) for path in place.iterdir()] == [name]
        (Path(name) / "file").touch()
    assert not list(place.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next_one(place: Path) -> None:
    child, folder = start(place)
    end(child, signal.SIGKILL)
    assert (folder / "half.bin").is_file()
    with TemporaryFolder():
        assert not folder.exists()


def test_a_folder_in_use_stays(place: Path) -> None:
    child, folder = start(place)
    try:
        with TemporaryFolder(), TemporaryFolder():
            assert (folder / "half.bin").is_file()
    finally:
        end(child, signal.SIGKILL)


def test_a_new_folder_stays_for_its_process_may_not_have_locked_it_yet(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    (place / "hemline-work-new").mkdir()
    with TemporaryFolder():
        assert (place / "hemline-work-new").is_dir()


def test_a_link_of_that_name_is_left_alone(place: Path, tmp_path_factory) -> None:
    target = tmp_path_factory.mktemp("elsewhere")
    (target / "file").touch()
    (place / "hemline-work-link").symlink_to(target)
    with TemporaryFolder():
        assert (target / "file").is_file()


def test_a_folder_that_cannot_be_written_is_named_itself(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory") as caught:
        TemporaryFolder(str(tmp_path / "missing"))
    assert caught.value.filename == str(tmp_path / "missing")

"""A real `hemline evaluate` whose folder is full, closed or taken writes no half report."""

from __future__ import annotations

from pathlib import Path

import pytest
from patience import HANG_SECONDS

from hemline.files import locked

pytestmark = pytest.mark.slow


def test_a_full_disk_ends_with_one_line_and_no_report(
    hemline, checkpoint: Path, data_folder: Path, small_disk
) -> None:
    disk = small_disk(100)  # the pictures have about 500 kB
    ended = hemline.run("-q", "evaluate", checkpoint, "--data", data_folder, "-o", disk)
    assert "cannot write" in ended.error
    assert "no space left on device" in ended.error
    assert ended.code == 1
    assert not (disk / "report.html").exists()
    assert not [path for path in disk.iterdir() if "partial" in path.name]


def test_a_folder_that_may_not_be_written_is_told_before_the_work(
    powerless, checkpoint: Path, data_folder: Path
) -> None:
    closed = powerless.folder / "closed"
    closed.mkdir(mode=0o500)
    ended = powerless.run("evaluate", checkpoint, "--data", data_folder, "-o", closed / "new")
    assert "cannot write" in ended.error
    assert "permission denied" in ended.error
    assert ended.code == 1


def test_two_do_not_write_one_folder(hemline, checkpoint: Path, data_folder: Path) -> None:
    folder = hemline.folder / "taken"
    with locked(folder):
        ended = hemline.run("-q", "evaluate", checkpoint, "--data", data_folder, "-o", folder)
    assert "another hemline command is using" in ended.error
    assert ended.code == 1


def test_an_interrupt_leaves_nothing_running(hemline, bundle: Path) -> None:
    process = hemline.start("evaluate", bundle / "int8.tflite")
    assert process.stderr is not None
    process.stderr.readline()  # it tells what it runs when the child is about to start
    process.terminate()
    process.communicate(timeout=HANG_SECONDS)
    hemline.require_nothing_left()

"""A real `hemline report` on a full disk and in a terminal that cannot show a character."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from planted_records import plant

pytestmark = pytest.mark.slow


@pytest.fixture
def measured(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "bundle")
    plant(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_full_disk_ends_with_one_line_and_no_page(hemline, measured: Path, small_disk) -> None:
    disk = small_disk(300)  # the page has about 600 kB
    (disk / "report.html").write_text("an earlier page")
    ended = hemline.run("-q", "report", measured, "-o", disk / "report.html", "--force")
    assert "cannot write" in ended.error
    assert "no space left on device" in ended.error
    assert ended.code == 1
    assert (disk / "report.html").read_text() == "an earlier page"
    assert not [path for path in disk.iterdir() if "partial" in path.name]


def test_a_terminal_without_a_character_is_told_all_the_same(hemline, measured: Path) -> None:
    hemline.environment.update(PYTHONIOENCODING="ascii", LC_ALL="C")
    ended = hemline.run("report", measured, "-o", hemline.folder / "µs.html")
    assert ended.code == 0
    assert [line.partition(" ")[0] for line in ended.errors] == ["report:"]
    assert "µs" in (hemline.folder / "µs.html").read_text(encoding="utf-8")

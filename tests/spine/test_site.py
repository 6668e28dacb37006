"""`make docs`: every page is in the site, and every link and picture of it is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from documents import ROOT


def test_the_site_builds_without_a_broken_link_and_holds_every_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index"}
    assert pages <= {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert (tmp_path / "site" / "results-hem-50k-compare.png").is_file()
    assert (tmp_path / "site" / "search" / "search_index.json").is_file()

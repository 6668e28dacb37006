"""Hooks of MkDocs: README.md is the first page, and pictures of results/ are part of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
_PICTURE = re.compile(r"\]\((?:\.\./)?(results/[^)]+\.png)\)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add README.md as index.md, and each picture of results/ that a page shows."""
    readme = (ROOT / "README.md").read_text()
    pages = [readme, *(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))]
    for path in sorted({found for page in pages for found in _PICTURE.findall(page)}):
        files.append(File.generated(config, _name(path), abs_src_path=str(ROOT / path)))
    # links of README.md start at the root of the repository, those of the site in docs/
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Have pictures of results/ point at their copies in the site."""
    return _PICTURE.sub(lambda found: f"]({_name(found[1])})", markdown)


def _name(path: str) -> str:
    return path.replace("/", "-")

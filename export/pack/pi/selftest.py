#!/usr/bin/env python3
"""Check the files of this pack, then the predictions of its artifact on this board.

This file goes into a pack, so it needs the standard library only. Exit code 0 when all is well, 1
for a damaged file, 3 when the artifact fails on this board.
"""

from __future__ import annotations

import hashlib
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def damaged(folder: Path) -> list[str]:
    """Return the files that are missing or differ from SHA256SUMS."""
    rows = [line.split("  ", 1) for line in (folder / "SHA256SUMS").read_text().splitlines()]
    return [name for digest, name in rows if _sha256(folder / name) != digest]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def main() -> None:
    """Run the self-test."""
    if names := damaged(FOLDER):
        sys.exit(f"error: damaged or missing: {', '.join(names)}; copy the pack again")
    print("all files are intact", flush=True)
    artifact = next(each for each in FOLDER.iterdir() if each.suffix in (".tflite", ".onnx"))
    sys.argv[1:] = ["selftest", str(artifact)]
    runpy.run_path(str(FOLDER / "hemline-runtime.pyz"), run_name="__main__")


if __name__ == "__main__":
    main()

"""What is costly to make is made once for each state of the sources, and shared by all workers."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# what a checkpoint or a bundle is made by; bench only reads them
SOURCES = ("hemline", "train", "export", "runtime")
PACKAGES = ("tensorflow", "keras", "numpy", "onnx", "tf2onnx", "onnxruntime", "ai-edge-litert",
            "tflite-runtime")  # fmt: skip
# A verified bundle names the processor's features and the host's name.
PROCESSOR = Path("/proc/cpuinfo")


@cache
def state() -> str:
    """Return a hash of all that decides what is made: sources, packages, Python, processor."""
    digest = hashlib.sha256(sys.version.encode())
    files = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    for path in (*sorted(files), ROOT / "tests" / "conftest.py", ROOT / "requirements.lock"):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    digest.update(" ".join(map(_version, PACKAGES)).encode() + os.uname().nodename.encode())
    if PROCESSOR.exists():
        lines = [x for x in PROCESSOR.read_text().splitlines() if x.startswith(("model", "flags"))]
        digest.update("\n".join(sorted(set(lines))).encode())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def made_once(
    config: pytest.Config, name: str, make: Callable[[Path], object], copy_to: Path
) -> Path:
    """Let `make` fill a folder unless this state of the sources has one; return a copy of it.

    Workers that need the same folder wait for the one that makes it. A copy, so that a test that
    writes into it by mistake spoils its own session only.
    """
    if not hasattr(config, "cache"):  # pytest -p no:cacheprovider
        make(copy_to)
        return copy_to
    folder = config.cache.mkdir("hemline") / name
    kept = folder / state()
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            for old in folder.glob("*/"):
                shutil.rmtree(old)
            making = folder / "making"
            making.mkdir()
            make(making)
            making.rename(kept)
        return Path(shutil.copytree(kept, copy_to, dirs_exist_ok=True))

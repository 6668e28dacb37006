"""A package index in a folder, with wheels of runtimes that take no time to fetch and unpack."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

# Does the probe's arithmetic and nothing else, with the names of a real interpreter.
INTERPRETER = """
import numpy as np

class Interpreter:
    def __init__(self, model_content, num_threads):
        assert model_content[4:8] == b"TFL3"

    def allocate_tensors(self):
        pass

    def get_input_details(self):
        return [{"shape": np.array([1, 1, 2, 1]), "index": 0, "dtype": np.float32}]

    def get_output_details(self):
        return [{"shape": np.array([1, 2]), "index": 1, "dtype": np.float32}]

    def set_tensor(self, index, value):
        left, right = value.ravel()
        self.answer = np.array([[left - right, 2 * right]], np.float32)

    def invoke(self):
        pass

    def get_tensor(self, index):
        return self.answer
"""
BROKEN = INTERPRETER.replace("left - right", "left + right")
CRASHING = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"


def add_wheel(folder: Path, name: str, version: str, tag: str, members: dict[str, str]) -> Path:
    """Write a wheel; `name` with underscores."""
    info = f"{name}-{version}.dist-info"
    everything = {
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
    }
    record = f"{info}/RECORD"
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in everything.items():
            archive.writestr(member, text)
        archive.writestr(record, "".join(f"{member},,\n" for member in (*everything, record)))
    return path


def add_runtime(
    folder: Path, version: str, *, tag: str = "py3-none-any", code: str = INTERPRETER
) -> Path:
    """Write a wheel of litert."""
    members = {
        "ai_edge_litert/__init__.py": f'__version__ = "{version}"\n',
        "ai_edge_litert/interpreter.py": code,
    }
    return add_wheel(folder, "ai_edge_litert", version, tag, members)


def make_index(folder: Path) -> Path:
    """Make a folder an index, with numpy in it.

    Its numpy is the one of this environment, by a path: a copy would take seconds.
    """
    folder.mkdir()
    here = {"numpy_here.pth": str(Path(np.__file__).parents[1])}
    add_wheel(folder, "numpy", np.__version__, "py3-none-any", here)
    return folder


def use_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip know nothing but a folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")

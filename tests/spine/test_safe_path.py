"""Child processes import nothing from the folder that the command runs in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hemline.export.admission.confined import COMMAND
from hemline.runtime.process import local_command
from hemline.safe_path import code_command, module_command

ASK = "import sys, numpy; print(numpy.__version__, sys.argv[1:])"


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with a numpy.py and a json.py that fail."""
    for name in ("numpy", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the folder')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)  # Python 3.10 does not know it
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        code_command(ASK),
        (*module_command("pip"), "--version"),
        local_command(),
        (*COMMAND, "jobs"),
    ],
    ids=["code", "pip", "jobs", "confined"],
)
def test_a_module_in_the_current_folder_is_not_imported(
    command: tuple[str, ...], trapped: Path
) -> None:
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_arguments_and_the_search_path_of_the_environment_arrive(trapped: Path) -> None:
    folder = trapped / "packages"
    folder.mkdir()
    (folder / "numpy.py").write_text("__version__ = 'from PYTHONPATH'\n")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [*code_command(ASK), "a", "b"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "from PYTHONPATH ['a', 'b']\n"

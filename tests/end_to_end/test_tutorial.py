"""The tutorial, from its first line to its last: commands, the device's file and Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hemline.api import verify
from hemline.runtime.one_file import NAME, write_runtime_file

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
BIN = Path(sys.executable).parent
MEASURED = r"\d[\d.,e-]*|AMD.*\)"  # what another machine prints otherwise


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def run(*words: str, code: str = "") -> str:
    """Run a program in this folder; return stdout and stderr together."""
    done = subprocess.run(
        [*words], input=code, capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def same_but_for_figures(shown: str, printed: str) -> None:
    """Require each line that the page shows among those printed, with any figures.

    Which file is the fastest depends on the machine and on what else it does.
    """
    found = {re.sub(MEASURED, "N", " ".join(line.split())) for line in printed.splitlines()}
    for line in shown.splitlines():
        assert (
            line == "…"
            or "µs" in line
            or "as fast" in line
            or re.sub(MEASURED, "N", " ".join(line.split())) in found
        ), line


@pytest.mark.slow
def test_the_tutorial_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = "".join(run("bash", "-euo", "pipefail", "-c", block) for block in blocks("sh"))
    write_runtime_file(tmp_path / NAME)
    (tmp_path / "int8.tflite").symlink_to("artifacts/hem-50k-photos/int8.tflite")
    for line in re.findall(r"env/bin/python hemline-runtime.pyz (.*)", PAGE.read_text()):
        printed += run(sys.executable, NAME, *line.split())
    for shown in blocks("text"):
        if "env/bin" not in shown and "scp " not in shown:
            same_but_for_figures(shown, printed)
    for code in (*blocks("py"), *blocks("python")):
        run(sys.executable, "-", code=code)
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 181
    assert (tmp_path / "artifacts/second/int8.tflite").is_file()


def test_a_bundle_and_a_file_are_verified_from_python_without_a_word(
    bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    verified = verify(bundle)
    assert verified.passed
    assert {verdict.status for _, verdict in verified.verdicts} == {"passed"}
    assert all(verdict.status == "passed" for _, verdict in verify(bundle / "int8.onnx").verdicts)
    assert capfd.readouterr() == ("", "")

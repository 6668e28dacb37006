"""A runtime that crashes or hangs on a device has failed there, whatever it would have returned."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hemline.bench.devices import checking
from hemline.bench.devices.checking import Check, check, require_passed
from hemline.bench.devices.local import LocalDevice
from hemline.contract.manifest import Manifest
from hemline.errors import GateError
from hemline.runtime.process import JobProcess


class BrokenBoard(LocalDevice):
    """This machine, with a line of Python in place of the job runner."""

    name = "board"

    def __init__(self, code: str) -> None:
        """Keep the line of Python."""
        super().__init__()
        self._code = code

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return LiteRT."""
        return super().runtimes()[:1]

    def open(self, runtime: str, version: str) -> JobProcess:
        """Start the line of Python."""
        del runtime, version
        return JobProcess((sys.executable, "-c", self._code))


def checks_of(bundle: Path, manifest: Manifest, code: str) -> tuple[Check, ...]:
    one = replace(manifest, artifacts=(manifest.artifact("int8.tflite"),))
    return check(bundle, one, BrokenBoard(code), report=lambda _: None)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; input(); os.kill(os.getpid(), 9)", "ended the job runner (signal 9)"),
        ("import time; input(); time.sleep(600)", "gave no result in 1 s"),
        ("input(); print('{}')", "job runner gave no valid result"),
    ],
)
def test_a_runner_that_dies_hangs_or_returns_nonsense_is_a_failure(
    bundle: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    monkeypatch.setattr(checking, "JOB_SECONDS", 1.0 if "sleep" in code else 120.0)
    (seen,) = checks_of(bundle, manifest, code)
    assert (seen.status, seen.records, seen.equality) == ("failed", (), None)
    assert reason in seen.reason
    with pytest.raises(GateError, match=r"failed on board: int8\.tflite in litert: ") as caught:
        require_passed((seen,), BrokenBoard(code))
    assert caught.value.exit_code == 3

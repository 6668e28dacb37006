"""A runtime that crashes or hangs on a device has failed there, whatever it would have returned."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from broken_board import DIES, BrokenBoard
from click.testing import CliRunner

from hemline.bench.devices import checking
from hemline.bench.devices.checking import Check, check, require_passed
from hemline.bench.devices.device import Capabilities
from hemline.bench.devices.table import DEVICES, DeviceKind
from hemline.cli import cli
from hemline.contract.manifest import Manifest
from hemline.errors import GateError


def checks_of(bundle: Path, manifest: Manifest, code: str) -> tuple[Check, ...]:
    one = replace(manifest, artifacts=(manifest.artifact("int8.tflite"),))
    return check(bundle, one, BrokenBoard(code), report=lambda _: None)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (DIES, "ended the job runner (signal 9)"),
        ("import time; input(); time.sleep(600)", "returned no result in 1 s"),
        ("input(); print('{}')", "job runner returned no valid result"),
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


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a device whose runtime crashes."""
    kind = DeviceKind(
        name="dying",
        summary="a board whose job runner is killed",
        open="broken_board:open_dying",
        capabilities=Capabilities(latencies=True),
    )
    monkeypatch.setitem(DEVICES, kind.name, kind)
    return kind.name


@pytest.mark.medium
def test_a_bench_on_a_device_whose_runtime_crashes_exits_with_3(
    bundle: Path, tmp_path: Path, dying: str
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    error = CliRunner().invoke(cli, ["bench", str(copy), "--device", dying]).exception
    assert isinstance(error, GateError)
    assert error.exit_code == 3
    several = ["bench", str(copy), "--rounds", "1", "--device", f"local,{dying}"]
    result = CliRunner().invoke(cli, several)
    assert result.exit_code == 3
    assert "error: board: failed on board: fp32.tflite in litert: " in result.output
    table = result.stdout.partition("\nartifact ")[2]
    assert "int8.tflite" in table  # of this machine alone
    assert "board" not in table

"""Devices: what each can tell, found out without asking for its class."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hemline.bench.devices.addresses import open_device
from hemline.bench.devices.device import Capabilities, installed_runtimes
from hemline.bench.devices.emulation.raspberry_pis import RASPBERRY_PIS
from hemline.bench.devices.table import DEVICES
from hemline.cli import cli
from hemline.errors import UnknownNameError

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_in_bench_asks_a_device_for_its_class() -> None:
    names = {"Device", "LocalDevice", "EmulatedDevice", "GpuDevice", "TflmDevice", "SshDevice"}
    for path in (ROOT / "bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                asked = {getattr(each, "id", "") for each in ast.walk(node.args[1])}
                assert not asked & names, f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "address", ["local", *(f"emulated:{name}" for name in RASPBERRY_PIS), "tflm", "ssh:pi@board"]
)
def test_a_device_can_tell_no_more_than_its_kind(address: str) -> None:
    device = open_device(address)
    assert device.name == address
    assert device.capabilities == DEVICES[address.partition(":")[0]].capabilities


@pytest.mark.medium
def test_device_check_reaches_what_bench_can_use() -> None:
    result = CliRunner().invoke(cli, ["device", "check", "local", "--json"])
    document = json.loads(result.stdout)
    assert (document["name"], document["address"]) == ("local", "local")
    assert document["host"]["cores"] >= 1
    runtimes = {each["runtime"]: each for each in document["runtimes"]}
    assert list(runtimes) == [name for name, _ in installed_runtimes()]
    assert runtimes["litert"]["fits"]
    assert runtimes["litert"]["delegate"] == "XNNPACK"
    assert "litert" in CliRunner().invoke(cli, ["device", "check", "local"]).stdout


def test_device_check_names_the_nearest_device() -> None:
    error = CliRunner().invoke(cli, ["device", "check", "lokal"]).exception
    assert isinstance(error, UnknownNameError)
    assert "did you mean 'local'" in str(error)


def test_every_kind_measures_something_of_its_own() -> None:
    def figures(able: Capabilities) -> int:
        return able.latencies + able.instructions + able.arena

    assert all(figures(kind.capabilities) == 1 for kind in DEVICES.values())

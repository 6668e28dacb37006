"""`hemline doctor`: a whole report, also when TensorFlow or a runtime is missing or broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.contract.schema import from_document
from hemline.doctor.processor import processor_features
from hemline.doctor.report import Report
from hemline.environments.environment import environments_folder
from hemline.environments.wheels import PACKAGES
from hemline.user_folders import cache_folder, config_folder
from hemline.version import VERSION

BROKEN = "raise ImportError('libbroken.so: cannot open shared object file')\n"
CRASHING = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"


def report_of(shadows: Path | None = None) -> tuple[Report, set[str]]:
    """Return the report and the modules that were loaded; `shadows` come before what is installed.

    In a process of its own, since other tests load TensorFlow.
    """
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(shadows)!r})\n"
        "from hemline.cli import cli\n"
        "cli(['doctor', '--json'], standalone_mode=False)\n"
        "print(' '.join(sys.modules))\n"
    )
    environment = {"PYTHONPATH": str(shadows)} if shadows else {}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    *document, modules = done.stdout.splitlines()
    report = from_document(Report, json.loads("\n".join(document)), where="doctor")
    return report, set(modules.split())


def test_it_reports_this_machine_and_loads_no_tensorflow() -> None:
    report, modules = report_of()
    assert (report.hemline, report.libraries["numpy"]) == (VERSION, np.__version__)
    assert report.host.cores >= 1
    assert [state.name for state in report.runtimes] == list(PACKAGES)
    assert {s.name for s in report.runtimes if s.version and s.fault is None} >= {"litert"}
    assert not modules & {"tensorflow", "keras", "ai_edge_litert", "onnxruntime", "matplotlib"}


def test_what_is_broken_is_a_line_of_the_report(tmp_path: Path) -> None:
    for name, text in (
        ("tensorflow", BROKEN),
        ("ai_edge_litert", BROKEN),
        ("onnxruntime", CRASHING),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    report, _ = report_of(tmp_path)
    faults = {state.name: state.fault for state in report.runtimes}
    assert "libbroken.so" in str(faults["litert"])
    assert faults["onnxruntime"] == "signal 11"
    assert report.libraries["tensorflow"]


def test_what_is_not_installed_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from hemline.doctor import report as module

    monkeypatch.setattr(module, "installed_version", lambda _: None)
    result = CliRunner().invoke(cli, ["doctor"], catch_exceptions=False)
    lines = result.stdout.splitlines()
    assert next(line for line in lines if line.startswith("onnxruntime")).endswith("not installed")
    assert any(line.startswith("not installed") and "tensorflow" in line for line in lines)


def test_caches_environments_and_devices_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    from hemline.doctor import report as module

    monkeypatch.setattr(module, "PACKAGES", {})
    (environments_folder() / "litert-1.0.0-py3.11").mkdir(parents=True)
    (cache_folder() / "decoded").mkdir()
    (cache_folder() / "decoded" / "images.npy").write_bytes(bytes(2_000_000))
    config_folder().mkdir(parents=True)
    (config_folder() / "devices.toml").write_text('[pi4]\naddress = "ssh:pi@secret.example"\n')
    told = CliRunner().invoke(cli, ["doctor"], catch_exceptions=False).stdout
    assert "litert-1.0.0-py3.11 (no readable record)" in told
    assert "decoded 2.0 MB" in told
    assert "pi4" in told
    assert "secret" not in told


def test_a_devices_file_with_a_mistake_is_a_line_of_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hemline.doctor import report as module

    monkeypatch.setattr(module, "PACKAGES", {})
    config_folder().mkdir(parents=True)
    (config_folder() / "devices.toml").write_text("[pi4\n")
    result = CliRunner().invoke(cli, ["doctor"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "devices.toml" in result.stdout


@pytest.mark.parametrize(
    ("machine", "line", "present"),
    [
        ("x86_64", "flags\t\t: fpu sse2 avx2 avx512f avx_vnni", ["AVX2", "AVX-512", "VNNI"]),
        ("x86_64", "flags\t\t: avx2 avx512_vnni amx_int8", ["AVX2", "VNNI", "AMX"]),
        ("aarch64", "Features\t: fp asimd asimddp i8mm", ["NEON", "dotprod", "i8mm"]),
        ("armv7l", "Features\t: half thumb neon", ["NEON"]),
    ],
)  # fmt: skip
def test_the_features_are_those_of_the_processor(
    tmp_path: Path, machine: str, line: str, present: list[str]
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{line}\nprocessor\t: 1\n{line}\n")
    features = processor_features(machine, path)
    assert [name for name, there in features.items() if there] == present
    assert processor_features(machine, tmp_path / "none") == {}

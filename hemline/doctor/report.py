"""Collect what a bug report needs: versions, processor, runtimes, environments, caches.

Nothing of TensorFlow is imported, and each runtime is tried in a process of its own, so that a
missing or broken one is a line of the report.
"""

from __future__ import annotations

import json
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hemline.contract.job import HostFacts
from hemline.doctor.processor import processor_features
from hemline.environments.environment import environments, fault
from hemline.environments.probe_artifact import probe_artifact
from hemline.environments.wheels import PACKAGES, Package, wheel_sets
from hemline.errors import HemlineError
from hemline.folders import TemporaryFolder, size_of
from hemline.host import free_bytes, host_facts
from hemline.programs import output_of
from hemline.provenance import commit, installed_version
from hemline.safe_path import module_command
from hemline.user_folders import cache_folder_if_any
from hemline.version import VERSION

_SECONDS = 60.0  # for the self-test of a runtime; an import from a cold disk takes seconds
_LIBRARIES = (
    "numpy", "tensorflow", "keras", "tf2onnx", "onnx", "scikit-learn", "optuna", "pillow",
    "matplotlib", "opencv-python-headless", "click", "rich", "platformdirs",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeState:
    """A runtime beside Hemline.

    version: of its package; None where it is not installed.
    fault: why it does not run the probe; None where it does, and where it is not installed.
    """

    name: str
    version: str | None
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedFolder:
    """An environment or a wheel set in the cache; `fault` is None if it can be used."""

    name: str
    size_bytes: int
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The facts of a bug report. Paths begin with ~ inside the home folder.

    commit: of the checkout, with "+" when files were changed; None for an installed package.
    features: instruction set extensions, and whether the processor has them.
    libraries: name to version; None where it is not installed.
    cache: its folder; empty for a user without a home folder.
    cache_bytes: name of each folder in the cache to its size.
    devices: names of the devices that were configured, or why they cannot be read.
    """

    KIND: ClassVar[str] = "doctor report"
    SCHEMA: ClassVar[int] = 1

    hemline: str
    commit: str | None
    folder: str
    python: str
    executable: str
    host: HostFacts
    features: dict[str, bool]
    free_memory_bytes: int | None
    libraries: dict[str, str | None]
    runtimes: tuple[RuntimeState, ...]
    environments: tuple[AddedFolder, ...]
    wheel_sets: tuple[AddedFolder, ...]
    cache: str
    cache_bytes: dict[str, int]
    devices: tuple[str, ...]


def make_report(devices: tuple[str, ...]) -> Report:
    """Return the report of this machine; takes the second that the runtimes need to start."""
    host = host_facts()
    cache = cache_folder_if_any()
    return Report(
        hemline=VERSION,
        commit=commit(),
        folder=_shown(Path(__file__).resolve().parents[1]),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        executable=_shown(Path(sys.executable)),
        host=host,
        features=processor_features(host.machine),
        free_memory_bytes=free_bytes(),
        libraries={name: installed_version(name) for name in _LIBRARIES},
        runtimes=_runtimes(),
        environments=_environments(cache),
        wheel_sets=_wheel_sets(cache),
        cache="" if cache is None else _shown(cache),
        cache_bytes=_sizes(cache),
        devices=devices,
    )


def _runtimes() -> tuple[RuntimeState, ...]:
    with ThreadPoolExecutor() as pool:
        return tuple(pool.map(_state, PACKAGES.values()))


def _state(package: Package) -> RuntimeState:
    """Run the probe in a process of its own, which a runtime may crash."""
    # onnxruntime-gpu is installed in place of onnxruntime
    version = installed_version(package.project) or installed_version(f"{package.project}-gpu")
    found = None
    if version is not None:
        with TemporaryFolder() as folder:
            path = Path(folder) / f"probe.{package.format}"
            path.write_bytes(probe_artifact(package.format, package.runtime))
            found = _fault(path, package.runtime)
    return RuntimeState(name=package.runtime, version=version, fault=found)


def _fault(path: Path, runtime: str) -> str | None:
    command = (*module_command("hemline.runtime"), "selftest", str(path), "--runtime", runtime)
    try:
        lines = output_of([*command, "--json"], seconds=_SECONDS).splitlines()
        return None if json.loads(lines[-1])["passed"] else "its self-test failed"
    except HemlineError as error:
        return str(error)
    except (ValueError, IndexError, KeyError, TypeError):
        return "its self-test returned no result"


def _environments(cache: Path | None) -> tuple[AddedFolder, ...]:
    readable, unreadable = ([], []) if cache is None else environments(cache)
    return (
        *(AddedFolder(name=e.name, size_bytes=e.size_bytes, fault=fault(f)) for f, e in readable),
        *map(_unreadable, unreadable),
    )


def _wheel_sets(cache: Path | None) -> tuple[AddedFolder, ...]:
    readable, unreadable = ([], []) if cache is None else wheel_sets(cache)
    return (
        *(AddedFolder(name=w.name, size_bytes=size_of(f), fault=None) for f, w in readable),
        *map(_unreadable, unreadable),
    )


def _unreadable(folder: Path) -> AddedFolder:
    return AddedFolder(name=folder.name, size_bytes=size_of(folder), fault="no readable record")


def _sizes(cache: Path | None) -> dict[str, int]:
    if cache is None or not cache.is_dir():
        return {}
    return {path.name: size_of(path) for path in sorted(cache.iterdir()) if path.is_dir()}


def _shown(path: Path) -> str:
    """Return a path without the name of the user."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)

"""Runtimes for an emulated board: their real ARM wheels, unpacked into the cache."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hemline.bench.devices.emulation.emulator import emulation_folder
from hemline.environments.wheels import WheelRequest, wheel_set
from hemline.errors import HemlineError
from hemline.folders import made

_LARGEST_BYTES = 80 << 20  # onnxruntime has 55 MB, numpy 49
_UNNEEDED = "tests"  # folders that make up a fifth of numpy


def unpacked_wheels(runtime: str, version: str, *, machine: str, python: str) -> tuple[Path, ...]:
    """Return the folders to import a runtime from, and numpy where the index has it.

    `machine` is a name in the MACHINES table. Raises HemlineError when there is no such wheel, or
    no network on first use.
    """
    request = WheelRequest(runtime=runtime, version=version, python=python, machine=machine)
    folder, wheels = wheel_set(request)
    return tuple(
        made(
            emulation_folder() / "wheels" / path.stem,
            lambda empty, wheel=path: _unpack(wheel, empty),  # type: ignore[misc]
            needs_bytes=_LARGEST_BYTES,
        )
        for path in wheels.paths(folder)
    )


def _unpack(wheel: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if _UNNEEDED not in name.split("/")]
            archive.extractall(folder, names)
    except zipfile.BadZipFile as error:
        raise HemlineError(f"{wheel} is damaged: remove {wheel.parent}, then try again") from error

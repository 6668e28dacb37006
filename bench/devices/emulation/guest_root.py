"""What an emulated program sees, in the cache: Python of another architecture, and its wheels."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from hemline.bench.devices.emulation.emulator import cached, emulation_folder, read_contents, unpack
from hemline.bench.devices.emulation.raspberry_pis import RASPBERRY_PIS, RaspberryPi
from hemline.environments.wheels import WheelRequest, wheel_set
from hemline.errors import HemlineError
from hemline.folders import made

# numpy has no wheel for 32-bit ARM: there it is Debian's
_PACKAGES = {
    "arm64": ("python3-minimal", "libpython3-stdlib", "libstdc++6"),
    "armhf": ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libatomic1", "python3-numpy"),
}
_LARGEST_BYTES = 120 << 20  # 80 MB unpacked, before what is not needed is removed
_LARGEST_WHEEL_BYTES = 80 << 20  # onnxruntime has 55 MB, numpy 49
_UNNEEDED = "tests"  # folders that make up a fifth of numpy
_FOR_ALL = "system"
_SHARED = ("usr", "lib", "lib64")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRoot:
    """One board's root folder.

    folder: to give to qemu.
    python: of the guest, as in 3.11.
    versions: Debian package to version.
    """

    folder: Path
    python: str
    versions: dict[str, str]

    @property
    def program(self) -> str:
        """Return the name of the guest's Python in usr/bin."""
        return f"python{self.python}"

    @property
    def packages(self) -> Path:
        """Return the folder of Debian's own Python packages."""
        return self.folder / "usr" / "lib" / "python3" / "dist-packages"


def guest_root(pi: RaspberryPi) -> GuestRoot:
    """Return a board's root folder, unpacked into the cache on first use (15 MB, or 21 of 32-bit).

    Raises HemlineError with what to do when it cannot be had.
    """
    boards = [each for each in RASPBERRY_PIS.values() if each.architecture == pi.architecture]
    made_of = [*_PACKAGES[pi.architecture], *(board.cpuinfo for board in boards)]
    folder = made(
        cached(pi.architecture, made_of),
        lambda empty: _make(empty, pi.architecture, boards),
        needs_bytes=_LARGEST_BYTES,
        what=f"Python for {pi.title} (some 20 MB)",
    )
    return GuestRoot(
        folder=folder / pi.name,
        python=_python_in(folder / _FOR_ALL),
        versions=read_contents(folder / _FOR_ALL),
    )


def _make(folder: Path, architecture: str, boards: list[RaspberryPi]) -> None:
    system = folder / _FOR_ALL
    system.mkdir()
    unpack(_PACKAGES[architecture], system, architecture=architecture)
    _python_in(system)
    _link_alternatives(system)
    for name in _SHARED:
        # newer Debian packages leave the merge of /lib into /usr/lib to the installed system
        if not (system / name).exists() and (system / "usr" / name).is_dir():
            (system / name).symlink_to(f"usr/{name}")
    for board in boards:
        board.write_system_files(folder / board.name)
        for name in _SHARED:
            if (system / name).exists():
                (folder / board.name / name).symlink_to(f"../{_FOR_ALL}/{name}")


def _link_alternatives(system: Path) -> None:
    """Link the libraries of linear algebra into the loader's folder, as their scripts would."""
    for library in system.glob("usr/lib/*/*/lib*.so.3"):
        if library.parent.name in ("blas", "lapack"):
            link = library.parent.parent / library.name
            link.symlink_to(f"{library.parent.name}/{library.name}")


def _python_in(system: Path) -> str:
    names = [path.name for path in (system / "usr" / "bin").glob("python3.*")]
    found = [match[1] for name in names if (match := re.fullmatch(r"python(3\.\d+)", name))]
    if not found:
        raise HemlineError(
            f"the Debian packages in {system} contain no Python: remove {system.parent}, then try "
            "again"
        )
    return found[0]


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
            needs_bytes=_LARGEST_WHEEL_BYTES,
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

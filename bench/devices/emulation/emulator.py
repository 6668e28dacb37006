"""qemu's user mode with the counter of instructions, out of Debian packages, in the cache.

The programs run with the libraries of their own packages, so nothing has to be installed here.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hemline import files
from hemline.debian_packages import unpack_packages
from hemline.errors import DataError, HemlineError
from hemline.folders import made
from hemline.programs import ProgramError, output_of
from hemline.user_folders import cache_folder

PROGRAMS = {"arm64": "qemu-aarch64", "armhf": "qemu-arm"}  # by Debian's name of the architecture
_PACKAGES = ("qemu-user", "tcc")
_COUNTER = "instruction_counter"
_LARGEST_BYTES = 250 << 20  # 132 MB unpacked, before what is not needed is removed
_CONTENTS = "contents.json"
_COMPILE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """Where qemu is.

    folder: root of the unpacked packages.
    version: of Debian's package.
    """

    folder: Path
    version: str

    def command(self, program: str) -> list[str]:
        """Return the command that runs one of the programs in there."""
        loader = next(iter(sorted(self.folder.glob("**/ld-linux*.so.*"))))
        libraries = sorted({path.parent for path in self.folder.glob("**/*-linux-gnu*/*.so.*")})
        return [
            str(loader),
            "--library-path",
            ":".join(str(path) for path in libraries),
            str(self.folder / "usr" / "bin" / program),
        ]

    @property
    def counter(self) -> Path:
        """Return the plugin that counts."""
        return self.folder / f"{_COUNTER}.so"


def emulator() -> Emulator:
    """Return the emulator, unpacked into the cache on first use (22 MB to download).

    Raises HemlineError with what to do when it cannot be had.
    """
    source = Path(__file__).with_name(f"{_COUNTER}.c")
    folder = made(
        cached("qemu", [*_PACKAGES, files.sha256_of(source)]),
        lambda empty: _make(empty, source),
        needs_bytes=_LARGEST_BYTES,
        what="qemu (22 MB)",
    )
    return Emulator(folder=folder, version=read_contents(folder)["qemu-user"])


def emulation_folder() -> Path:
    """Return the folder of all that emulation needs."""
    return cache_folder() / "emulated"


def cached(what: str, made_of: Sequence[str]) -> Path:
    """Return a folder whose name changes with what it is made of and this system's release.

    The release is that of the packages.
    """
    try:
        release = platform.freedesktop_os_release()
    except OSError as error:
        raise _only_debian("there is no /etc/os-release") from error
    system = [release["ID"], release.get("VERSION_ID", "")]
    digest = files.fingerprint([*system, platform.machine(), *made_of])[:12]
    return emulation_folder() / f"{what}-{digest}"


def unpack(packages: Sequence[str], folder: Path, *, architecture: str | None = None) -> None:
    """Unpack Debian packages without what no program here reads, and note their versions."""
    try:
        versions = unpack_packages(packages, folder, architecture=architecture)
    except DataError as error:
        raise _only_debian(str(error)) from error
    unread = [folder / "usr" / "share", folder / "var", *folder.glob("usr/lib/*/gconv")]
    for each in unread:
        shutil.rmtree(each, ignore_errors=True)
    files.write_json(folder / _CONTENTS, versions)


def read_contents(folder: Path) -> dict[str, str]:
    """Return name to version of the packages in a folder."""
    contents: dict[str, str] = files.read_json(folder / _CONTENTS)
    return contents


def _make(folder: Path, source: Path) -> None:
    unpack(_PACKAGES, folder)
    for program in (folder / "usr" / "bin").glob("qemu-*"):
        if program.name not in PROGRAMS.values():
            program.unlink()
    made_here = Emulator(folder=folder, version="")
    # tcc is all that a machine without a compiler needs, so it is used on every machine
    compiler = [*made_here.command("tcc"), "-shared", "-nostdlib", "-nostdinc"]
    command = [*compiler, "-o", str(made_here.counter), str(source)]
    try:
        output_of(command, seconds=_COMPILE_SECONDS)
    except ProgramError as error:
        raise HemlineError(f"the instruction counter cannot be built: {error}") from error


def _only_debian(reason: str) -> HemlineError:
    return HemlineError(
        f"emulation needs qemu and a root folder from Debian packages, which failed: {reason}; it "
        "needs Debian or Ubuntu with reachable package sources, and no root rights"
    )

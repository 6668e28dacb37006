"""What a board reports about itself, and which of our files it has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hemline.bench.devices.ssh.untrusted import cleaned
from hemline.contract.schema import from_document
from hemline.errors import DeviceError, HemlineError, remedy
from hemline.files import parse_json

# kernel's name of the machine, and bits of a pointer in its Python: the platform of its wheels
_PLATFORMS = {
    ("x86_64", 64): "x86_64",
    ("aarch64", 64): "aarch64",
    ("armv7l", 32): "armv7l",
    ("aarch64", 32): "armv7l",  # Raspberry Pi OS, 32 bits, has a kernel of 64 bits
    ("armv8l", 32): "armv7l",
}
_PYTHON = re.compile(r"3\.[0-9]{1,3}[0-9a-z.+]{0,20}")
_NUMPY = re.compile(r"[0-9]{1,4}(\.[0-9]{1,6}){1,3}[0-9A-Za-z.+-]{0,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A board.

    machine: name of the architecture that its kernel gives.
    pointer_bits: of its Python; a kernel of 64 bits may run a system of 32.
    python: version of its python3.
    libc: name and version of its C library; empty where it is not glibc.
    numpy: version of the system's numpy; None without one.
    folder: where Hemline's files are on it.
    writable: whether they can be written there.
    free_bytes: on that disk.
    files: name to size of what the store holds.
    environments: keys of the environments that are made.
    """

    machine: str
    pointer_bits: int
    python: str
    libc: str
    numpy: str | None
    folder: str
    writable: bool
    free_bytes: int
    files: dict[str, int]
    environments: tuple[str, ...]

    @property
    def platform(self) -> str | None:
        """Return the platform of its wheels (x86_64, aarch64 …); None for another one."""
        return _PLATFORMS.get((self.machine, self.pointer_bits))

    @property
    def python_minor(self) -> str:
        """Return the Python version as wheels know it (3.11)."""
        return ".".join(self.python.split(".")[:2])

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return (what, text) to print."""
        writable = "" if self.writable else ", which is not writable"
        return (
            ("platform", f"{self.platform or self.machine}, {self.libc or 'no glibc'}"),
            ("python", f"{self.python} with {f'numpy {self.numpy}' if self.numpy else 'no numpy'}"),
            ("free", f"{self.free_bytes / 1e9:.1f} GB in {self.folder}{writable}"),
        )


def read_survey(output: bytes, name: str) -> Survey:
    """Return the survey that a board printed; raises DeviceError when it is not one."""
    # start-up files of the board's shell may print something before
    last = output.strip().rpartition(b"\n")[2]
    try:
        document = parse_json(last, where="the last line")
        survey = from_document(Survey, document, where="the last line")
    except HemlineError as error:
        raise DeviceError(f"{name} returned no valid survey ({error})") from error
    if not survey.folder.startswith("/") or any(size < 0 for size in survey.files.values()):
        raise DeviceError(f"{name} returned no valid survey")
    if not _PYTHON.fullmatch(survey.python):
        raise DeviceError(f"{name} returned no valid survey: its Python has no version")
    if survey.numpy is not None and not _NUMPY.fullmatch(survey.numpy):
        raise DeviceError(f"{name} returned no valid survey: its numpy has no version")
    folder = survey.folder
    clean = cleaned(survey)
    if clean.folder != folder:
        raise DeviceError(
            f"{name} has a folder with control characters", remedy=remedy("other folder on device")
        )
    return clean

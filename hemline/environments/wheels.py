"""Fetch the wheels that a runtime needs: its own and numpy's, for this machine or for a device.

Other dependencies of the packages are not fetched: every version of every runtime here was run
without them. pip downloads, from the package index that it is configured for.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hemline import files
from hemline.contract import schema
from hemline.contract.specs import Format, version_key
from hemline.environments.pip import NoWheelError, run_pip
from hemline.environments.record_folders import read_folders, select
from hemline.errors import FileFormatError, HemlineError, UnknownNameError, UsageError, remedy
from hemline.folders import made, remove
from hemline.provenance import utc_now
from hemline.user_folders import cache_folder

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")  # searched when one has no wheel
RECORD_NAME = "wheels.json"
_LARGEST_SET_BYTES = 80 << 20  # onnxruntime and numpy are 45 MB together
_OLDEST_GLIBC = 17  # manylinux2014, the oldest that any wheel here is built for


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A row of the PACKAGES table.

    runtime: name in the BACKENDS table.
    project: name on the package index.
    format: of the files that it opens.
    numpy_2_from: first version that runs with numpy 2; None where none does.
    pythons: the Pythons that it is built for, in words, by its first such version, newest first.
    """

    runtime: str
    project: str
    format: Format
    numpy_2_from: str | None
    pythons: tuple[tuple[str, str], ...] = (("0", "3.10 or newer"),)

    def pythons_of(self, version: str) -> str:
        """Return the Pythons that a version is built for, in words."""
        fitting = (w for first, w in self.pythons if version_key(version) >= version_key(first))
        return next(fitting)

    def numpy_requirement(self, version: str) -> str:
        """Return which numpy a version of the runtime gets."""
        first = self.numpy_2_from
        if first is None or version_key(version) < version_key(first):
            return "numpy>=1.24,<2"
        return "numpy>=1.24"


# Measured by opening a model: with numpy 2, older ones import and then fail to make an interpreter
# (tflite-runtime, litert 1.0), fail to import (onnxruntime 1.17, 1.18) or crash (before that).
PACKAGES: dict[str, Package] = {
    package.runtime: package
    for package in (
        Package(runtime="litert", project="ai-edge-litert", format="tflite", numpy_2_from="1.1.0"),
        Package(
            runtime="tflite-runtime",
            project="tflite-runtime",
            format="tflite",
            numpy_2_from=None,
            pythons=(("0", "3.10 or 3.11"),),
        ),
        Package(
            runtime="onnxruntime",
            project="onnxruntime",
            format="onnx",
            numpy_2_from="1.19.0",
            pythons=(("1.24.0", "3.11 or newer"), ("0", "3.10 or newer")),
        ),
    )
}

# Machine to whether the index has numpy for it; else numpy is the system's (python3-numpy).
MACHINES: dict[str, bool] = {"x86_64": True, "aarch64": True, "armv7l": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelRequest:
    """What wheels are for.

    runtime: name in the PACKAGES table.
    version: of its package; None for the newest.
    python: version that will run it, major.minor.
    machine: name in the MACHINES table; None for this one.
    glibc: minor version of its C library 2.x; Debian 12 and Raspberry Pi OS of 2023 have 2.36.
    """

    runtime: str
    version: str | None
    python: str
    machine: str | None = None
    glibc: int = 36

    def __post_init__(self) -> None:
        if self.runtime not in PACKAGES:
            raise UnknownNameError("runtime", self.runtime, PACKAGES)
        if self.machine is not None and self.machine not in MACHINES:
            raise UnknownNameError("platform", self.machine, MACHINES)
        if not re.fullmatch(r"3\.\d+", self.python):
            raise UsageError(f"{self.python!r} is not a Python version: write it as 3.11")

    @property
    def package(self) -> Package:
        """Return the row of the PACKAGES table."""
        return PACKAGES[self.runtime]

    @property
    def has_numpy(self) -> bool:
        """Return whether numpy can be fetched too."""
        return self.machine is None or MACHINES[self.machine]

    @property
    def options(self) -> list[str]:
        """Return the options of pip that select this Python and machine."""
        options = ["--only-binary=:all:", f"--python-version={self.python}"]
        if self.machine is None:
            return options
        minors = range(_OLDEST_GLIBC, self.glibc + 1)
        # tflite-runtime has wheels with the old name of manylinux_2_17, which pip treats as another
        names = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in minors)]
        tags = [f"--platform={name}_{self.machine}" for name in names]
        return [*options, "--implementation=cp", *tags]

    def pinned(self) -> WheelRequest:
        """Return the same for one version, by default the newest; raises as `download`."""
        return dataclasses.replace(self, version=self.version or newest_version(self))

    def __str__(self) -> str:
        where = "" if self.machine is None else f" on {self.machine}"
        return f"Python {self.python}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel file.

    name: of the file.
    sha256: of its content.
    size_bytes: of the file.
    """

    name: str
    sha256: str
    size_bytes: int

    @property
    def version(self) -> str:
        """Return the version of its package."""
        return self.name.split("-")[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSet:
    """The wheels of a runtime for one kind of device.

    runtime: name in the BACKENDS table.
    version: of its package.
    python: version that they are for, major.minor.
    machine: architecture that they are for.
    glibc: minor version of the C library 2.x that they may need.
    numpy_version: among the wheels; None where it must be the system's (python3-numpy).
    wheels: the files beside this record.
    created: UTC time, ISO 8601.
    """

    KIND: ClassVar[str] = "wheel set"
    SCHEMA: ClassVar[int] = 1

    runtime: str
    version: str
    python: str
    machine: str
    glibc: int
    numpy_version: str | None
    wheels: tuple[Wheel, ...]
    created: str

    @property
    def name(self) -> str:
        """Return its name in lists: litert==2.3.0@3.11 for aarch64."""
        return f"{self.runtime}=={self.version}@{self.python} for {self.machine}"

    def paths(self, folder: Path) -> tuple[Path, ...]:
        """Return the paths of the files in the folder of the set."""
        return tuple(folder / wheel.name for wheel in self.wheels)


def wheel_set(request: WheelRequest, cache: Path | None = None) -> tuple[Path, WheelSet]:
    """Return the folder and the record of a device's wheels, fetched unless they are there.

    `request` must name a machine and a version. Raises as `download`; HemlineError when the cache
    cannot be written.
    """
    folder = wheel_set_folder(request, cache)
    if folder.is_dir() and not _whole(folder):
        remove(folder)

    def make(empty: Path) -> None:
        wheels = download(request, empty)
        record = WheelSet(
            runtime=request.runtime,
            version=str(request.version),
            python=request.python,
            machine=str(request.machine),
            glibc=request.glibc,
            numpy_version=wheels[1].version if request.has_numpy else None,
            wheels=wheels,
            created=utc_now(),
        )
        schema.save(empty / RECORD_NAME, record)

    what = f"{request.runtime} {request.version} for {request.machine}, Python {request.python}"
    made(folder, make, needs_bytes=_LARGEST_SET_BYTES, what=what)
    return folder, schema.load(WheelSet, folder / RECORD_NAME)


def wheel_sets(cache: Path | None = None) -> tuple[list[tuple[Path, WheelSet]], list[Path]]:
    """Return the wheel sets with their records, and the folders without a readable record."""
    return read_folders((cache or cache_folder()) / "wheels", "*/[!.]*", WheelSet, RECORD_NAME)


def find_wheel_sets(
    runtime: str, version: str, python: str | None, machine: str, cache: Path | None = None
) -> list[tuple[Path, WheelSet]]:
    """Return the wheel sets of a runtime for a machine.

    Raises UsageError when there are none for the machine, UnknownNameError for none of the runtime.
    """
    there = [pair for pair in wheel_sets(cache)[0] if pair[1].machine == machine]
    if not there:
        raise UsageError(f"no wheels for {machine} were added", remedy=remedy("list runtimes"))
    pattern = f"{runtime}=={version}@{python or '*'} for {machine}"
    return select(there, pattern, kind="wheel set")


def wheel_set_folder(request: WheelRequest, cache: Path | None = None) -> Path:
    """Return the folder of a device's wheels."""
    kind = f"{request.machine}-py{request.python}-glibc2.{request.glibc}"
    return (cache or cache_folder()) / "wheels" / kind / f"{request.runtime}-{request.version}"


def _whole(folder: Path) -> bool:
    try:
        record = schema.load(WheelSet, folder / RECORD_NAME)
        return all(files.sha256_of(folder / wheel.name) == wheel.sha256 for wheel in record.wheels)
    except FileFormatError:
        return False


def download(request: WheelRequest, folder: Path) -> tuple[Wheel, ...]:
    """Put the wheels of one version of a runtime and of its numpy into an empty folder.

    The runtime's is the first of the result. Raises UsageError for a version that does not exist or
    has no wheel for this Python, FetchError when the package index cannot be reached, HemlineError
    when pip is missing or fails.
    """
    version, project = str(request.version), request.package.project
    wanted = [f"{project}=={version}"]
    if request.has_numpy:
        wanted.append(request.package.numpy_requirement(version))
    how = ["download", "-q", "--no-deps", *request.options, "--dest", str(folder)]
    try:
        run_pip([*how, *wanted])
    except NoWheelError as error:
        if project not in str(error):
            raise UsageError(
                f"there is no {wanted[1]} for {request}: use another Python"
            ) from error
        raise _no_wheel(request) from error
    numpy_last = sorted(folder.iterdir(), key=lambda path: path.name.startswith("numpy-"))
    return tuple(
        Wheel(name=path.name, sha256=files.sha256_of(path), size_bytes=path.stat().st_size)
        for path in numpy_last
    )


def _no_wheel(request: WheelRequest) -> UsageError:
    """Return an error with the Pythons or the versions that have wheels."""
    wanted = request.version
    found = {python: _versions(request, python) for python in (request.python, *PYTHONS)}
    here = found[request.python]
    others = [
        python for python in PYTHONS if (wanted in found[python] if wanted else found[python])
    ]
    what = request.runtime if wanted is None else f"{request.runtime} {wanted}"
    if others:
        return UsageError(
            f"{what} has no wheel for {request}, only for Python {' and '.join(others)}",
            remedy=remedy("other python", python=others[-1]),
        )
    if not here:
        built = f"{request.runtime} has no build for that"
        return UsageError(f"{what} has no wheel for {request}: {built}")
    return UsageError(f"there is no {what} for {request}: {_nearest(str(wanted), here)}")


def _nearest(wanted: str, versions: Sequence[str]) -> str:
    ordered = sorted(versions, key=version_key)
    older = [v for v in ordered if version_key(v) <= version_key(wanted)]
    near = older[-1] if older else ordered[0]
    text = f"the nearest one is {near}"
    return text if near == ordered[-1] else f"{text}, the newest {ordered[-1]}"


def newest_version(request: WheelRequest) -> str:
    """Return the newest released version of a runtime with a wheel; raises as `download`."""
    versions = _listed(request)
    if not versions:
        raise _no_wheel(request)
    return max(versions, key=version_key)


def _versions(request: WheelRequest, python: str) -> tuple[str, ...]:
    """Return the released versions that have a wheel for a Python; none if pip fails."""
    try:
        return _listed(dataclasses.replace(request, python=python))
    except HemlineError:
        return ()


def _listed(request: WheelRequest) -> tuple[str, ...]:
    try:
        text = run_pip(["index", "versions", *request.options, request.package.project])
    except NoWheelError:
        return ()
    listed = re.search(r"^Available versions: (.+)$", text, re.MULTILINE)
    return tuple(listed[1].split(", ")) if listed else ()

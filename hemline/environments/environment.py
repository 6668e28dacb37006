"""Small environments, one for each runtime and version: a Python, numpy, the runtime, nothing else.

    ~/.cache/hemline/runtimes/litert-1.4.0-py3.11/
        bin/python …            made by venv, without pip
        hemline-runtime.pyz     the job runner
        probe.tflite            the model of the trial
        environment.json        the record

An environment that cannot run the probe is not kept.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hemline import files
from hemline.contract import schema
from hemline.contract.specs import version_key
from hemline.environments.pip import run_pip
from hemline.environments.probe_artifact import probe_artifact
from hemline.environments.record_folders import read_folders, select
from hemline.environments.wheels import PACKAGES, Wheel, WheelRequest, download
from hemline.errors import BackendError, HemlineError, UnknownNameError, UsageError, remedy
from hemline.folders import made, remove, size_of
from hemline.programs import output_of
from hemline.provenance import utc_now
from hemline.user_folders import cache_folder

RECORD_NAME = "environment.json"
RUNTIME_NAME = "hemline-runtime.pyz"
OLDEST_PYTHON = (3, 10)
_SECONDS = 60.0  # for one start of a Python; an import from a cold disk takes seconds
_LARGEST_BYTES = 500 << 20  # numpy, and litert 2.0 with its 380 MB; the others have a fifth


class _Versioned:
    """A runtime and a Python, each in one version."""

    __slots__ = ()
    runtime: str
    version: str
    python_version: str

    @property
    def python(self) -> str:
        """Return the Python version, major.minor."""
        return minor_of(self.python_version)

    @property
    def name(self) -> str:
        """Return its name in commands: litert==1.4.0@3.11."""
        return f"{self.runtime}=={self.version}@{self.python}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeTarget(_Versioned):
    """A runtime in one version, and how to start a process that runs jobs in it.

    runtime: name in the BACKENDS table.
    version: as the runtime reports it.
    python_version: of the process.
    numpy_version: of the process.
    command: starts the job runner.
    """

    runtime: str
    version: str
    python_version: str
    numpy_version: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A runtime as a user names it: litert, litert==1.4.0, litert==1.4.0@3.11.

    runtime: name in the PACKAGES table.
    version: None for any.
    python: major.minor; None for any.
    """

    runtime: str
    version: str | None
    python: str | None

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read one; raises UnknownNameError or UsageError."""
        found = re.fullmatch(r"([A-Za-z][\w-]*)(?:==([^@]*))?(?:@(.*))?", text)
        if found is None:
            raise UsageError(f"{text!r} is not a runtime: write it as litert==1.4.0")
        runtime, version, python = found.groups()
        if runtime not in PACKAGES:
            raise UnknownNameError("runtime", runtime, PACKAGES)
        if version is not None and not re.fullmatch(r"\d+(\.\d+){1,3}", version):
            raise UsageError(
                f"{text!r} does not name a released version: write it as {runtime}==1.4.0"
            )
        if python is not None and not re.fullmatch(r"3\.\d+", python):
            raise UsageError(
                f"{text!r} does not name a Python version: write it as {runtime}==1.4.0@3.11"
            )
        return cls(runtime=runtime, version=version, python=python)

    def __str__(self) -> str:
        version = f"=={self.version}" if self.version else ""
        return f"{self.runtime}{version}{f'@{self.python}' if self.python else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python to make environments with.

    path: of its executable.
    version: major.minor.patch.
    """

    path: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(_Versioned):
    """The record of an environment, environment.json.

    runtime: name in the PACKAGES table.
    version: as the runtime reports it.
    python_version: major.minor.patch, when it was made.
    interpreter: path of the Python that it was made with.
    numpy_version: in it.
    wheels: that were installed.
    size_bytes: of all files.
    created: UTC time, ISO 8601.
    """

    KIND: ClassVar[str] = "environment"
    SCHEMA: ClassVar[int] = 1

    runtime: str
    version: str
    python_version: str
    interpreter: str
    numpy_version: str
    wheels: tuple[Wheel, ...]
    size_bytes: int
    created: str


def minor_of(python_version: str) -> str:
    """Return major.minor of a Python version."""
    return ".".join(python_version.split(".")[:2])


def environments_folder(cache: Path | None = None) -> Path:
    """Return the folder of all environments."""
    return (cache or cache_folder()) / "runtimes"


def find_interpreter(text: str | None) -> Interpreter:
    """Return a Python by version (3.12) or path; the one that runs this for None.

    Raises UsageError when it is missing, does not run or is too old.
    """
    if text is None:
        return Interpreter(path=sys.executable, version=".".join(map(str, sys.version_info[:3])))
    name = f"python{text}" if re.fullmatch(r"\d+\.\d+", text) else text
    path = shutil.which(name, path=_search_path())
    if path is None:
        raise UsageError(
            f"there is no Python {text!r} here ({name} is not on the PATH): install it, or name "
            "its executable"
        )
    code = (
        "import json, sys; import venv; "
        "print(json.dumps([sys.implementation.name, list(sys.version_info[:3]), sys.executable]))"
    )
    try:
        implementation, numbers, executable = json.loads(
            output_of([path, "-I", "-c", code], seconds=_SECONDS)
        )
    except (HemlineError, ValueError) as error:
        raise UsageError(
            f"{path} is not a Python with the module venv: name another, or install python3-venv"
        ) from error
    version = ".".join(map(str, numbers))
    if implementation != "cpython" or tuple(numbers) < OLDEST_PYTHON:
        raise UsageError(
            f"{path} is {implementation} {version}: Hemline needs CPython 3.10 or newer"
        )
    return Interpreter(path=executable, version=version)


def _search_path() -> str:
    """Return the PATH, with pyenv's Pythons in place of its shims: a shim may be inactive."""
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")  # noqa: PTH111
    folders = [each for each in os.get_exec_path() if each.rstrip("/") != f"{root}/shims"]
    return os.pathsep.join([*folders, *sorted(map(str, Path(root).glob("versions/*/bin")))])


def add_environment(
    requirement: Requirement,
    interpreter: Interpreter,
    runtime_file: bytes,
    cache: Path | None = None,
) -> tuple[Path, Environment, bool]:
    """Make an environment unless it exists; return its folder, its record, and whether it is new.

    `runtime_file` is the packed one-file runtime. A broken environment is made again. Raises as
    wheels.download; BackendError when the runtime does not work in it, and then keeps nothing.
    """
    python = minor_of(interpreter.version)
    request = WheelRequest(
        runtime=requirement.runtime, version=requirement.version, python=python
    ).pinned()
    folder = environments_folder(cache) / f"{request.runtime}-{request.version}-py{python}"
    if folder.is_dir():
        if fault(folder) is None:
            return folder, schema.load(Environment, folder / RECORD_NAME), False
        remove(folder)
    made(
        folder,
        lambda empty: _fill(empty, request, interpreter, runtime_file),
        needs_bytes=_LARGEST_BYTES,
    )
    return folder, schema.load(Environment, folder / RECORD_NAME), True


def environments(cache: Path | None = None) -> tuple[list[tuple[Path, Environment]], list[Path]]:
    """Return the environments with their records, and the folders without a readable record.

    They are sorted by runtime, oldest version first.
    """
    parent = environments_folder(cache)
    found, unreadable = read_folders(parent, "[!.]*", Environment, RECORD_NAME)
    order = list(PACKAGES)

    def place(pair: tuple[Path, Environment]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        record = pair[1]
        at = order.index(record.runtime) if record.runtime in order else len(order)
        return (at, version_key(record.version), version_key(record.python_version))

    return sorted(found, key=place), unreadable


def find_environments(
    requirement: Requirement, cache: Path | None = None
) -> list[tuple[Path, Environment]]:
    """Return the environments that fit a requirement.

    Raises UsageError when there are no environments, UnknownNameError when none fits.
    """
    there, _ = environments(cache)
    if not there:
        raise UsageError("no environment was added", remedy=remedy("add runtime", name=requirement))
    wanted = f"{requirement.runtime}=={requirement.version or '*'}@{requirement.python or '*'}"
    return select(there, wanted, kind="environment")


def fault(folder: Path) -> str | None:
    """Return why an environment cannot be used, or None; nothing is started."""
    try:
        record = schema.load(Environment, folder / RECORD_NAME)
    except HemlineError as error:
        return str(error)
    if not _python(folder).exists():
        return f"{record.interpreter}, used to create it, no longer exists"
    return None


def target_of(folder: Path, record: Environment, runtime_file: bytes) -> RuntimeTarget:
    """Return an environment as a target, with the job runner brought up to date.

    Raises BackendError when it is broken.
    """
    if (reason := fault(folder)) is not None:
        raise BackendError(
            f"the environment {record.name} is broken ({reason})",
            remedy=remedy("add runtime again", name=f"{record.runtime}=={record.version}"),
        )
    path = folder / RUNTIME_NAME
    if not path.is_file() or path.read_bytes() != runtime_file:
        files.write_bytes(path, runtime_file)
    return RuntimeTarget(
        runtime=record.runtime,
        version=record.version,
        python_version=record.python_version,
        numpy_version=record.numpy_version,
        # isolated: no PYTHON… variable, nothing of the user's own packages, no current folder
        command=(str(_python(folder)), "-I", str(path), "jobs"),
    )


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _fill(
    folder: Path, request: WheelRequest, interpreter: Interpreter, runtime_file: bytes
) -> None:
    """Make an environment in an empty folder."""
    venv = [interpreter.path, "-I", "-m", "venv", "--without-pip", str(folder)]
    output_of(venv, seconds=_SECONDS)
    (folder / "wheels").mkdir()
    wheels = download(request, folder / "wheels")
    site = str(folder / "lib" / f"python{request.python}" / "site-packages")
    paths = [str(folder / "wheels" / wheel.name) for wheel in wheels]
    # each wheel fits that Python, checked when it was fetched; pip would check its own Python
    how = ["install", "-q", "--no-index", "--no-deps", "--no-compile", "--ignore-requires-python"]
    run_pip([*how, *request.options, "--target", site, *paths])
    shutil.rmtree(folder / "wheels")
    (folder / RUNTIME_NAME).write_bytes(runtime_file)
    report = _probe(folder, request)
    record = Environment(
        runtime=request.runtime,
        version=str(report["version"]),
        python_version=interpreter.version,
        interpreter=interpreter.path,
        numpy_version=wheels[1].version,
        wheels=wheels,
        size_bytes=size_of(folder),
        created=utc_now(),
    )
    schema.save(folder / RECORD_NAME, record)


def _probe(folder: Path, request: WheelRequest) -> dict[str, Any]:
    """Run the probe in a new environment and return the report of its self-test."""
    name = f"probe.{request.package.format}"
    (folder / name).write_bytes(probe_artifact(request.package.format, request.runtime))
    command = [str(_python(folder)), "-I", str(folder / RUNTIME_NAME), "selftest", "--json"]
    try:
        lines = output_of([*command, str(folder / name)], seconds=_SECONDS).splitlines()
        report: dict[str, Any] = json.loads(lines[-1])
    except (HemlineError, ValueError, IndexError) as error:
        raise BackendError(
            f"{request.runtime} {request.version} does not work with {request}: {error}"
        ) from error
    return report

"""Small environments, one for each runtime and version: a Python, numpy, the runtime, nothing else.

    ~/.cache/hemline/runtimes/litert-1.4.0-py3.11/
        bin/python …            made by venv, without pip
        hemline-runtime.pyz     the job runner
        probe.tflite            the model that it was tried with
        environment.json        what it was made from

An environment that cannot run the probe is not made.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hemline import files
from hemline.contract import schema
from hemline.contract.specs import version_key
from hemline.environments.probe_artifact import probe_artifact
from hemline.environments.wheels import (
    PACKAGES,
    Wheel,
    WheelRequest,
    download,
    newest_version,
    run_pip,
)
from hemline.errors import BackendError, HemlineError, UnknownNameError, UsageError
from hemline.folders import made, remove, size_of
from hemline.provenance import utc_now
from hemline.user_folders import cache_folder

RECORD_NAME = "environment.json"
RUNTIME_NAME = "hemline-runtime.pyz"
OLDEST_PYTHON = (3, 10)
_SECONDS = 60.0  # for one start of a Python; an import from a cold disk takes seconds
_LARGEST_BYTES = 500 << 20  # numpy, and litert 2.0 with its 380 MB; the others have a fifth


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeTarget:
    """A runtime in one version, and how to start a process that runs jobs in it.

    runtime: name in the BACKENDS table.
    version: as the runtime tells it.
    python_version: of the process.
    numpy_version: of the process.
    command: starts the job runner.
    added: whether it is an environment of its own, not the one that runs Hemline.
    """

    runtime: str
    version: str
    python_version: str
    numpy_version: str
    command: tuple[str, ...]
    added: bool

    @property
    def python(self) -> str:
        """Return the Python version, major.minor."""
        return minor_of(self.python_version)

    @property
    def name(self) -> str:
        """Return how it is asked for: litert==1.4.0@3.11."""
        return f"{self.runtime}=={self.version}@{self.python}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A runtime as it is asked for: litert, litert==1.4.0, litert==1.4.0@3.11.

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
            raise UsageError(f"{text!r} is no runtime: write it as litert==1.4.0")
        runtime, version, python = found.groups()
        if runtime not in PACKAGES:
            raise UnknownNameError("runtime", runtime, PACKAGES)
        if version is not None and not re.fullmatch(r"\d+(\.\d+){1,3}", version):
            raise UsageError(f"{text!r} names no released version: write it as {runtime}==1.4.0")
        if python is not None and not re.fullmatch(r"3\.\d+", python):
            raise UsageError(f"{text!r} names no Python version: write it as {runtime}==1.4.0@3.11")
        return cls(runtime=runtime, version=version, python=python)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python to make environments with.

    path: of its executable.
    version: major.minor.patch.
    """

    path: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What stands in an environment as environment.json.

    runtime: name in the PACKAGES table.
    version: as the runtime tells it.
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

    @property
    def name(self) -> str:
        """Return how it is asked for: litert==1.4.0@3.11."""
        return f"{self.runtime}=={self.version}@{minor_of(self.python_version)}"


def minor_of(python_version: str) -> str:
    """Return major.minor of a Python version."""
    return ".".join(python_version.split(".")[:2])


def environments_folder(cache: Path | None = None) -> Path:
    """Return the folder of all environments."""
    return (cache or cache_folder()) / "runtimes"


def find_interpreter(text: str | None) -> Interpreter:
    """Return a Python by version (3.12) or path; the one that runs this for None.

    Raises UsageError when it is not there, does not run or is too old.
    """
    if text is None:
        return Interpreter(path=sys.executable, version=".".join(map(str, sys.version_info[:3])))
    name = f"python{text}" if re.fullmatch(r"\d+\.\d+", text) else text
    path = shutil.which(name)
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
        implementation, numbers, executable = json.loads(_run([path, "-I", "-c", code]))
    except (HemlineError, ValueError) as error:
        raise UsageError(
            f"{path} is no Python with the module venv: name another one, or install python3-venv"
        ) from error
    version = ".".join(map(str, numbers))
    if implementation != "cpython" or tuple(numbers) < OLDEST_PYTHON:
        raise UsageError(
            f"{path} is {implementation} {version}: the runtime needs CPython 3.10 or newer"
        )
    return Interpreter(path=executable, version=version)


def add_environment(
    requirement: Requirement,
    interpreter: Interpreter,
    runtime_file: bytes,
    cache: Path | None = None,
) -> tuple[Path, Environment, bool]:
    """Make an environment unless it is there; return its folder, its record, and whether it is new.

    `runtime_file` is the packed one-file runtime. One that is broken is made again. Raises as
    wheels.download; BackendError when the runtime does not work in it; nothing is kept then.
    """
    python = minor_of(interpreter.version)
    version = requirement.version or newest_version(
        WheelRequest(runtime=requirement.runtime, version=None, python=python)
    )
    folder = environments_folder(cache) / f"{requirement.runtime}-{version}-py{python}"
    if folder.is_dir():
        if fault(folder) is None:
            return folder, schema.load(Environment, folder / RECORD_NAME), False
        remove(folder)
    request = WheelRequest(runtime=requirement.runtime, version=version, python=python)
    made(
        folder,
        lambda empty: _fill(empty, request, interpreter, runtime_file),
        needs_bytes=_LARGEST_BYTES,
    )
    return folder, schema.load(Environment, folder / RECORD_NAME), True


def environments(cache: Path | None = None) -> list[tuple[Path, Environment]]:
    """Return the folder and the record of each environment: by runtime, oldest version first.

    One whose record cannot be read is left out (see `unreadable`).
    """
    read = ((folder, _record(folder)) for folder in _folders(cache))
    found = [(folder, record) for folder, record in read if record is not None]
    order = list(PACKAGES)

    def place(pair: tuple[Path, Environment]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        record = pair[1]
        at = order.index(record.runtime) if record.runtime in order else len(order)
        return (at, version_key(record.version), version_key(record.python_version))

    return sorted(found, key=place)


def unreadable(cache: Path | None = None) -> list[Path]:
    """Return folders among the environments that have no readable record."""
    known = {folder for folder, _ in environments(cache)}
    return [folder for folder in _folders(cache) if folder not in known]


def find_environments(
    requirement: Requirement, cache: Path | None = None
) -> list[tuple[Path, Environment]]:
    """Return the environments that a requirement names; raises UnknownNameError for none."""
    there = environments(cache)
    found = [pair for pair in there if _fits(requirement, pair[1])]
    if not found:
        names = [record.name for _, record in there]
        asked = requirement.runtime + (f"=={requirement.version}" if requirement.version else "")
        asked += f"@{requirement.python}" if requirement.python else ""
        if not names:
            raise UsageError(f"no environment was added: run `hemline runtimes add {asked}`")
        raise UnknownNameError("environment", asked, names)
    return found


def fault(folder: Path) -> str | None:
    """Return why an environment cannot be used, or None; nothing is started."""
    try:
        record = schema.load(Environment, folder / RECORD_NAME)
    except HemlineError as error:
        return str(error)
    if not _python(folder).exists():
        return f"{record.interpreter}, which it was made with, is gone"
    return None


def target_of(folder: Path, record: Environment, runtime_file: bytes) -> RuntimeTarget:
    """Return an environment as a target, with the job runner brought up to date.

    Raises BackendError when it is broken.
    """
    if (reason := fault(folder)) is not None:
        raise BackendError(
            f"the environment {record.name} is broken ({reason}): run "
            f"`hemline runtimes add {record.runtime}=={record.version} --python PYTHON`"
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
        added=True,
    )


def _record(folder: Path) -> Environment | None:
    try:
        return schema.load(Environment, folder / RECORD_NAME)
    except HemlineError:
        return None


def _fits(requirement: Requirement, record: Environment) -> bool:
    return (
        record.runtime == requirement.runtime
        and requirement.version in (None, record.version)
        and requirement.python in (None, minor_of(record.python_version))
    )


def _folders(cache: Path | None) -> list[Path]:
    parent = environments_folder(cache)
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _fill(
    folder: Path, request: WheelRequest, interpreter: Interpreter, runtime_file: bytes
) -> None:
    """Make an environment in an empty folder."""
    _run([interpreter.path, "-I", "-m", "venv", "--without-pip", str(folder)])
    (folder / "wheels").mkdir()
    wheels = download(request, folder / "wheels")
    site = str(folder / "lib" / f"python{request.python}" / "site-packages")
    # that each wheel is for that Python was asked when it was fetched; of a file pip asks its own
    how = ["install", "-q", "--no-index", "--no-deps", "--no-compile", "--ignore-requires-python"]
    run_pip(
        [
            *how,
            *request.options,
            "--target",
            site,
            *(str(folder / "wheels" / w.name) for w in wheels),
        ]
    )
    shutil.rmtree(folder / "wheels")
    (folder / RUNTIME_NAME).write_bytes(runtime_file)
    told = _probe(folder, request)
    record = Environment(
        runtime=request.runtime,
        version=str(told["version"]),
        python_version=interpreter.version,
        interpreter=interpreter.path,
        numpy_version=wheels[1].version,
        wheels=wheels,
        size_bytes=size_of(folder),
        created=utc_now(),
    )
    schema.save(folder / RECORD_NAME, record)


def _probe(folder: Path, request: WheelRequest) -> dict[str, Any]:
    """Run the probe in a fresh environment and return what its self-test told."""
    name = f"probe.{request.package.format}"
    (folder / name).write_bytes(probe_artifact(request.package.format, request.runtime))
    command = [str(_python(folder)), "-I", str(folder / RUNTIME_NAME), "selftest", "--json"]
    try:
        told: dict[str, Any] = json.loads(_run([*command, str(folder / name)]).splitlines()[-1])
    except (HemlineError, ValueError, IndexError) as error:
        raise BackendError(
            f"{request.runtime} {request.version} does not work with {request}: {error}"
        ) from error
    return told


def _run(command: list[str]) -> str:
    """Return what a command prints; raises HemlineError with the last line of its errors."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except OSError as error:
        raise HemlineError(f"{command[0]}: {files.reason_of(error)}") from error
    except subprocess.TimeoutExpired as error:
        raise HemlineError(f"{command[0]} was not done after {_SECONDS:g} s") from error
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}"
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise HemlineError(f"{said[-1].removeprefix('error: ')} ({how})" if said else how)
    return done.stdout

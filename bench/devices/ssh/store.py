"""Our files on a board: content-addressed, each pushed once, as a tar archive."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from hemline import files
from hemline.bench.devices.ssh import on_board
from hemline.bench.devices.ssh.connection import Connection
from hemline.bench.devices.ssh.survey import Survey, read_survey
from hemline.bench.devices.ssh.untrusted import cleaned, plain
from hemline.contract.schema import from_document
from hemline.errors import DeviceError, FileFormatError, HemlineError, JobError, remedy

_OLDEST = (3, 10)
_SURVEY_SECONDS = 60.0
_UNPACK_SECONDS = 900.0  # 60 MB of wheels, unpacked and compiled on the card of a Pi Zero
_LONGEST_ANSWER = 1 << 20  # bytes: a thousand files in the store have 100 kB
_CHUNK_BYTES = 1 << 18
_SUFFIXES = frozenset((".tflite", ".onnx", ".npy", ".whl", ".pyz", ".py"))
_TOO_OLD = "hemline-python-is"
# what python3 is told to run: it reads the source of on_board.py from its standard input
_BOOT = (
    f"import sys; sys.version_info >= {_OLDEST} or "
    f'sys.exit("{_TOO_OLD} %d.%d" % tuple(sys.version_info[:2])); '
    'exec(compile(sys.stdin.buffer.read(int(sys.argv.pop(1))), "on_board", "exec"))'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushable:
    """A file for a board.

    path: here.
    name: there, its SHA-256 and its ending.
    size_bytes: of the file.
    """

    path: Path
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What is in a place for a file on a board.

    sha256: of the file that is there.
    previous_sha256: of the one that was there before, and is kept; empty without one.
    changed: whether the file is new there.
    """

    sha256: str
    previous_sha256: str
    changed: bool

    @property
    def replaced(self) -> bool:
        """Return whether the file is new there, in place of another one."""
        return self.changed and self.previous_sha256 != ""


def pushable(path: Path, sha256: str | None = None) -> Pushable:
    """Return a file with its name on a board; it is hashed unless its hash is known."""
    if path.suffix not in _SUFFIXES:
        raise FileFormatError(
            f"{path} is not a file for a device: name an artifact or an .npy file"
        )
    digest = sha256 or files.sha256_of(path)
    return Pushable(path=path, name=f"{digest}{path.suffix}", size_bytes=path.stat().st_size)


class Store:
    """Our files on a board; listed once for each connection."""

    def __init__(self, connection: Connection, name: str, *, folder: str, python: str) -> None:
        self._connection = connection
        self._name = name
        self._folder = folder
        self._python = python
        self._survey: Survey | None = None
        self.pushed_bytes = 0

    def survey(self) -> Survey:
        """Return what the board is and has, asked anew.

        Raises DeviceError when it has no Python, or one that is too old.
        """
        answer = self._call(("survey", self._folder), timeout_seconds=_SURVEY_SECONDS)
        self._survey = read_survey(answer, self._name)
        return self._survey

    @property
    def known(self) -> Survey:
        """Return the last survey."""
        return self._survey or self.survey()

    def forget(self) -> None:
        """Ask anew before the next use: the connection was cut, and files with it."""
        self._survey = None

    def path_of(self, file: Pushable) -> str:
        """Return where a file is on the board."""
        return f"{self.known.folder}/store/{file.name}"

    def missing(self, wanted: Iterable[Pushable]) -> tuple[Pushable, ...]:
        """Return the files that the board does not have whole, each once."""
        held = self.known.files
        lacking = {f.name: f for f in wanted if held.get(f.name) != f.size_bytes}
        return tuple(lacking.values())

    def push(self, wanted: Sequence[Pushable]) -> None:
        """Send the files that the board does not have, as one tar archive.

        After a cut, files that came whole are not sent again. Raises DeviceError when the
        connection is cut, HemlineError when the disk is full or a file arrives damaged.
        """
        lacking = self.missing(wanted)
        if not lacking:
            return
        size = sum(file.size_bytes for file in lacking)
        if size > self.known.free_bytes:
            raise HemlineError(
                f"{self._name} has {self.known.free_bytes / 1e6:.1f} MB free in "
                f"{self.known.folder}, {size / 1e6:.1f} MB are needed: free some space there"
            )
        try:
            answer = self._call(("receive", self._folder), write=partial(_write_tar, lacking))
        except BaseException:
            self.forget()
            raise
        self.pushed_bytes += size
        stored = [line.get("stored") for line in self._documents(answer)]
        self.known.files.update({f.name: f.size_bytes for f in lacking if f.name in stored})
        if damaged := self.missing(lacking):
            raise HemlineError(
                f"{damaged[0].path} is damaged after the transfer to {self._name}: check its disk"
            )

    def environment_key(self, wheels: Sequence[Pushable]) -> str:
        """Return the name of the environment that is made of these wheels."""
        names = [self.known.python_minor, *(wheel.name for wheel in wheels)]
        return hashlib.sha256(" ".join(names).encode()).hexdigest()

    def environment(self, wheels: Sequence[Pushable], module: str) -> str:
        """Return the folder of an environment, made of wheels that are there unless it exists.

        `module` is what will be imported from it.
        """
        key = self.environment_key(wheels)
        if key not in self.known.environments:
            words = ("unpack", self._folder, key, module, *(wheel.name for wheel in wheels))
            self._call(words, timeout_seconds=_UNPACK_SECONDS)
            self.survey()
        if key not in self.known.environments:
            raise HemlineError(f"{self._name} could not create an environment: check its disk")
        return f"{self.known.folder}/environments/{key}"

    def install(self, file: Pushable, place: str) -> Installed:
        """Put a file in a place on the board, and keep what was there; pushed unless it is there.

        Raises HemlineError with the reason when it cannot be written there.
        """
        self.push([file])
        return self._installed(("install", self._folder, file.name, place))

    def roll_back(self, place: str) -> Installed:
        """Exchange what is in a place with what was there before; raises HemlineError likewise."""
        return self._installed(("roll_back", self._folder, place))

    def present(self, environment: str, runtime: Pushable, place: str) -> object:
        """Return labels and image size of the artifact in a place on the board; None without."""
        answer = self._call(("stamp", environment, self.path_of(runtime), place))
        found = [each.get("present") for each in self._documents(answer)]
        return found[-1] if found else None

    def _installed(self, words: Sequence[str]) -> Installed:
        where = f"the response of {self._name}"
        found = [each.get("installed") for each in self._documents(self._call(words))]
        return cleaned(from_document(Installed, found[-1] if found else None, where=where))

    def facts(self, runtime: Pushable) -> bytes:
        """Return the host facts that the runtime file gives there, as JSON."""
        self.push([runtime])
        return self._call(("facts", self.path_of(runtime)), timeout_seconds=_SURVEY_SECONDS)

    def _call(
        self,
        words: Sequence[str],
        *,
        write: Callable[[IO[bytes]], object] = bool,
        timeout_seconds: float | None = None,
    ) -> bytes:
        """Run a command of on_board.py, which reads what `write` writes; return its output.

        Raises HemlineError with the error that it printed.
        """
        code_bytes = Path(on_board.__file__).read_bytes()

        def write_all(stream: IO[bytes]) -> None:
            stream.write(code_bytes)
            write(stream)

        code, answer, stderr = self._connection.call(
            (self._python, "-I", "-c", _BOOT, str(len(code_bytes)), *words),
            write=write_all,
            most_bytes=_LONGEST_ANSWER,
            timeout_seconds=timeout_seconds,
        )
        if code:
            errors = [each for each in self._documents(answer) if "error" in each]
            raise self._failed(errors[0]) if errors else self._not_started(code, stderr)
        return answer

    def _failed(self, said: dict[str, Any]) -> HemlineError:
        folder = self._survey.folder if self._survey else self._folder or "the cache folder"
        reason, place = plain(str(said["error"]), 300).lower(), plain(str(said.get("place", "")))
        where = f"{place}: {reason}" if place else f"{reason} in {folder}"
        if "space" in reason or "quota" in reason:
            return HemlineError(f"{self._name}: {where}: free some space there")
        advice = None if place else remedy("other folder on device")
        return HemlineError(f"{self._name}: {where}", remedy=advice)

    def _not_started(self, code: int, stderr: str) -> HemlineError:
        if stderr.startswith(_TOO_OLD):
            version = plain(stderr.removeprefix(_TOO_OLD), 20)
            oldest = ".".join(map(str, _OLDEST))
            return DeviceError(
                f"{self._name} has Python {version}, but {oldest} or newer is needed: install it "
                "there",
                remedy=remedy("other python on device"),
            )
        if code in (126, 127):
            return DeviceError(
                f"{self._name} has no {self._python}: apt-get install python3 there",
                remedy=remedy("other python on device"),
            )
        return JobError(f"{self._name} failed (exit code {code}): {stderr}")

    def _documents(self, answer: bytes) -> list[dict[str, Any]]:
        found = []
        for line in answer.splitlines():
            if line.startswith(b"{"):
                document = files.parse_json(line, where=f"the response of {self._name}")
                found += [document] if isinstance(document, dict) else []
        return found


def _write_tar(wanted: Iterable[Pushable], stream: IO[bytes]) -> None:
    """Write files as a tar archive that names no user."""
    with tarfile.open(fileobj=stream, mode="w|", bufsize=_CHUNK_BYTES) as archive:
        for file in wanted:
            entry = tarfile.TarInfo(file.name)
            entry.size = file.size_bytes
            with file.path.open("rb") as source:
                archive.addfile(entry, source)

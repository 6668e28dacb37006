"""Our files on a board: content-addressed, pushed once, continued after a cut."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hemline import files
from hemline.bench.devices.ssh import on_board
from hemline.bench.devices.ssh.connection import Connection
from hemline.bench.devices.ssh.survey import Survey, read_survey
from hemline.bench.devices.ssh.untrusted import plain
from hemline.errors import DeviceError, FileFormatError, HemlineError, JobError

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


def pushable(path: Path, sha256: str | None = None) -> Pushable:
    """Return a file as it will be called on a board; its hash is taken unless it is known."""
    if path.suffix not in _SUFFIXES:
        raise FileFormatError(f"{path} is no file for a device: name an artifact or an .npy file")
    digest = sha256 or files.sha256_of(path)
    return Pushable(path=path, name=f"{digest}{path.suffix}", size_bytes=path.stat().st_size)


class Store:
    """What a board holds of ours; asked for once a connection, then kept in mind."""

    def __init__(self, connection: Connection, name: str, *, folder: str, python: str) -> None:
        self._connection = connection
        self._name = name
        self._folder = folder
        self._python = python
        self._survey: Survey | None = None
        self.pushed_bytes = 0

    def survey(self) -> Survey:
        """Ask the board what it is and has.

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
        """Send the files that the board does not have, from where an earlier try was cut.

        Raises DeviceError when the connection is cut again, HemlineError when the disk is full or a
        file arrives damaged twice.
        """
        lacking = self.missing(wanted)
        if not lacking:
            return
        size = sum(file.size_bytes for file in lacking)
        if size > self.known.free_bytes:
            raise HemlineError(
                f"{self._name} has {self.known.free_bytes / 1e6:.1f} MB free in "
                f"{self.known.folder}, {size / 1e6:.1f} MB are needed: make room there"
            )
        left = self._send(lacking, self.known.files)
        # a partial file that was damaged or in use: once more, from its first byte
        left = self._send(left, {}) if left else left
        if left:
            raise HemlineError(f"{left[0].path} arrives damaged on {self._name}: check its disk")

    def environment(self, wheels: Sequence[Pushable], key: str, module: str) -> str:
        """Return the folder of an environment, made of these wheels unless it is there.

        `module` is what will be imported from it.
        """
        if key not in self.known.environments:
            self.push(wheels)
            words = ("unpack", self._folder, key, module, *(wheel.name for wheel in wheels))
            self._call(words, timeout_seconds=_UNPACK_SECONDS)
            self.survey()
        if key not in self.known.environments:
            raise HemlineError(f"{self._name} could not make an environment: check its disk")
        return f"{self.known.folder}/environments/{key}"

    def facts(self, runtime: Pushable) -> bytes:
        """Return the host facts that the runtime file gives there, as JSON."""
        self.push([runtime])
        return self._call(("facts", self.path_of(runtime)), timeout_seconds=_SURVEY_SECONDS)

    def _send(self, wanted: Sequence[Pushable], held: dict[str, int]) -> list[Pushable]:
        """Send files in one stream; return those that did not become whole."""
        offsets = {f.name: held.get(f"{f.name}{on_board.PARTIAL}", 0) for f in wanted}
        offsets = {f.name: offsets[f.name] if offsets[f.name] < f.size_bytes else 0 for f in wanted}
        stream = (chunk for file in wanted for chunk in self._framed(file, offsets[file.name]))
        try:
            answer = self._call(("receive", self._folder), source=stream)
        except BaseException:
            self.forget()
            raise
        lines = self._documents(answer)
        names = [line.get("name") for line in lines if line.get("state") == "stored"]
        stored = [file for file in wanted if file.name in names]
        self.known.files.update({file.name: file.size_bytes for file in stored})
        return [file for file in wanted if file not in stored]

    def _framed(self, file: Pushable, offset: int) -> Iterator[bytes]:
        header = {"name": file.name, "size": file.size_bytes, "offset": offset}
        yield json.dumps(header).encode() + b"\n"
        left = file.size_bytes - offset
        with file.path.open("rb") as stream:
            stream.seek(offset)
            while left and (chunk := stream.read(min(left, _CHUNK_BYTES))):
                yield chunk
                self.pushed_bytes += len(chunk)
                left -= len(chunk)

    def _call(
        self,
        words: Sequence[str],
        *,
        source: Iterable[bytes] = (),
        timeout_seconds: float | None = None,
    ) -> bytes:
        """Run a command of on_board.py; raises HemlineError with what it complained about."""
        code_bytes = Path(on_board.__file__).read_bytes()

        def stream() -> Iterator[bytes]:
            yield code_bytes
            yield from source

        code, answer, said = self._connection.call(
            (self._python, "-I", "-c", _BOOT, str(len(code_bytes)), *words),
            source=stream(),
            most_bytes=_LONGEST_ANSWER,
            timeout_seconds=timeout_seconds,
        )
        if code:
            complaints = [each["error"] for each in self._documents(answer) if "error" in each]
            raise self._complaint(str(complaints[0])) if complaints else self._refusal(code, said)
        return answer

    def _complaint(self, reason: str) -> HemlineError:
        folder = self._survey.folder if self._survey else self._folder or "the cache folder"
        full = "space" in reason.lower() or "quota" in reason.lower()
        remedy = (
            "make room there" if full else "choose another one with `hemline device add … --folder`"
        )
        return HemlineError(f"{self._name}: {plain(reason, 300).lower()} in {folder}: {remedy}")

    def _refusal(self, code: int, said: str) -> HemlineError:
        if said.startswith(_TOO_OLD):
            version = plain(said.removeprefix(_TOO_OLD), 20)
            oldest = ".".join(map(str, _OLDEST))
            return DeviceError(
                f"{self._name} has Python {version}, {oldest} is the oldest that works: install a "
                f"newer one there, and name it with `hemline device add … --python`"
            )
        if code in (126, 127):
            return DeviceError(
                f"{self._name} has no {self._python}: apt-get install python3 there, or name "
                "another one with `hemline device add … --python`"
            )
        return JobError(f"{self._name} failed (exit code {code}): {said}")

    def _documents(self, answer: bytes) -> list[dict[str, Any]]:
        found = []
        for line in answer.splitlines():
            if line.startswith(b"{"):
                document = files.parse_json(line, where=f"the answer of {self._name}")
                found += [document] if isinstance(document, dict) else []
        return found

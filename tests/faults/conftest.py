"""Real commands in real child processes, to be broken in every way."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from patience import HANG_SECONDS, eventually

HEMLINE = Path(sys.executable).with_name("hemline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended: exit code, standard output, and the lines of standard error."""

    code: int
    output: str
    errors: tuple[str, ...]

    @property
    def error(self) -> str:
        """Return the one line that a failed command writes; fails when there is another."""
        assert len(self.errors) == 1, "\n".join(self.errors)
        assert self.errors[0].startswith("error: "), self.errors[0]
        return self.errors[0]


@dataclass(slots=True, kw_only=True)
class Hemline:
    """Start `hemline` in a folder; what it starts can be found by a mark in its environment."""

    folder: Path
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: f"HEMLINE_TEST={uuid.uuid4()}")

    def start(self, *arguments: str | Path, command: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start a command and return its process."""
        name, _, value = self.mark.partition("=")
        return subprocess.Popen(
            [*self.prefix, *(command or (str(HEMLINE),)), *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **self.environment, name: value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path, command: Sequence[str] = ()) -> Ended:
        """Run a command to its end."""
        return finish(self.start(*arguments, command=command))

    def left_running(self) -> list[int]:
        """Return the ids of the processes that the started commands have left."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if self.mark.encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def require_nothing_left(self) -> None:
        """Wait until everything that was started has ended; fail when it does not."""
        assert eventually(lambda: not self.left_running()), f"running: {self.left_running()}"


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process and return how it ended; a traceback is never right."""
    output, errors = process.communicate(timeout=HANG_SECONDS)
    assert "Traceback" not in errors, errors
    return Ended(code=process.returncode, output=output, errors=tuple(errors.splitlines()))


@pytest.fixture(scope="session")
def start_hemline() -> type[Hemline]:
    """Return the class, for fixtures that live longer than one test."""
    return Hemline


@pytest.fixture
def hemline(tmp_path: Path) -> Hemline:
    """Return what starts the real command line in an empty folder."""
    return Hemline(folder=tmp_path)


@pytest.fixture
def powerless(tmp_path: Path) -> Hemline:
    """Return the same without root's power to read and write everything."""
    if os.geteuid() != 0:
        return Hemline(folder=tmp_path)
    if shutil.which("setpriv") is None:
        pytest.skip("root may read and write everything, and there is no setpriv to give that up")
    return Hemline(folder=tmp_path, prefix=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """Return a bundle that a test may damage."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


@pytest.fixture
def checkpoint_copy(checkpoint: Path, tmp_path: Path) -> Path:
    """Return a checkpoint that a test may damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts an empty disk of so many kilobytes."""
    mounted: list[Path] = []

    def mount(kilobytes: int) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)

"""A board over ssh: a Raspberry Pi, or any Linux machine with Python 3.10 or newer.

This side fetches the wheels and pushes them, the runtime and the artifacts, each once; the board
needs no network. Nothing that comes back is trusted.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hemline import files
from hemline.bench.devices.device import Device, LostError, installed_runtimes
from hemline.bench.devices.inspection import Inspection, RuntimeFit
from hemline.bench.devices.ssh import on_board
from hemline.bench.devices.ssh.address import parse_address
from hemline.bench.devices.ssh.board_wheels import board_wheels
from hemline.bench.devices.ssh.connection import Connection
from hemline.bench.devices.ssh.store import Installed, Pushable, Store, pushable
from hemline.bench.devices.ssh.survey import Survey
from hemline.bench.devices.ssh.untrusted import (
    cleaned,
    cleaned_times,
    npy_bytes,
    plain,
    read_output,
    require_answer,
    require_times,
)
from hemline.bench.devices.table import DEVICES
from hemline.closing import Closing
from hemline.contract.job import HostFacts, Job, JobResult, array_name
from hemline.contract.schema import from_document, to_document
from hemline.contract.specs import OutputSpec
from hemline.contract.stamp import read_stamped
from hemline.contract.timing import TimingJob
from hemline.errors import BackendError, DataError, DeviceError, JobError
from hemline.files import parse_json
from hemline.folders import TemporaryFolder
from hemline.pictures.npy import write_npy
from hemline.progress import REPORT, duration
from hemline.runtime.backends import find_backend
from hemline.runtime.job import job_images
from hemline.runtime.one_file import NAME, write_runtime_file
from hemline.runtime.process import JobProcess

_PULL_SECONDS = 300.0
_COMMAND_SECONDS = 120.0  # a service that starts anew
_LOUD_BYTES = 1 << 20  # a push of more than that is worth a line
_MOST_LOSSES = 3  # during one piece of work: it may be what ends the board
_UNREACHED_SECONDS = 10.0  # to wait for a board that was not reached yet
_LONGEST_PAUSE_SECONDS = 8.0  # between two attempts to reach it

T = TypeVar("T")


class SshDevice(Device):
    """A board at an address; connected when it is first used, and again after a cut."""

    capabilities = DEVICES["ssh"].capabilities

    def __init__(
        self, address: str, *, name: str = "", folder: str = "", python: str = "python3"
    ) -> None:
        """Name the board at `[user@]host[:port]`; `folder` is for our files there.

        It is ~/.cache/hemline by default.
        """
        self.name = name or f"ssh:{address}"
        self.address = parse_address(address)
        self.place = self.address.known_as
        self.python = python
        self.connection = Connection(self.address)
        self.store = Store(self.connection, self.name, folder=folder, python=python)
        self._ours: TemporaryFolder | None = None
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._wheels_of: dict[tuple[str, str], tuple[Pushable, ...]] = {}
        self._lock = threading.RLock()
        self._given_up = threading.Event()
        self._report = REPORT.get()  # of the command's thread

    def survey(self) -> Survey:
        """Return what the board is, asked anew; raises DeviceError."""
        with self._lock:
            self._connect()
            return self.store.survey()

    def host(self) -> HostFacts:
        """Return model name, governor, temperature and throttling, as the board reports them."""
        return self.lasting(self._host)

    def _host(self) -> HostFacts:
        with self._lock:
            self._connect()
            answer = self.store.facts(self._runtime_file()).strip().rpartition(b"\n")[2]
        where = f"the response of {self.name}"
        return cleaned(from_document(HostFacts, parse_json(answer, where=where), where=where))

    def inspect(self) -> Inspection:
        """Return what the board is, asked anew, and what fits there; raises DeviceError."""
        survey, host = self.survey(), self.host()
        facts = to_document(survey)
        stored = facts.pop("files")
        return Inspection(
            host=host,
            runtimes=self.fitting(),
            rows=survey.rows,
            facts={**facts, "platform": survey.platform, "store_bytes": sum(stored.values())},
        )

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return those of the runtimes installed here that also run there, in the same version.

        Raises BackendError with the reasons when none does.
        """
        every = self.lasting(self.fitting)
        fit = tuple((each.runtime, each.version) for each in every if each.reason is None)
        if not fit:
            reasons = "; ".join(f"{each.runtime} ({each.reason})" for each in every) or "none"
            raise BackendError(f"{self.name} can run no runtime that is installed here: {reasons}")
        return fit

    def fitting(self) -> tuple[RuntimeFit, ...]:
        """Return each runtime that is installed here, its version, and why it cannot run there."""
        return tuple(
            RuntimeFit(runtime=runtime, version=version, reason=self._misfit(runtime, version))
            for runtime, version in installed_runtimes()
        )

    def open(self, runtime: str, version: str) -> SshRunner:
        """Open a runner; wheels and runtime are pushed unless they are there.

        Raises BackendError when the runtime cannot run there, DeviceError when the board cannot be
        reached.
        """
        runner = SshRunner(self, runtime, version)
        self.lasting(runner.start)
        return runner

    def lasting(self, work: Callable[[], T]) -> T:
        """Do some work; where the board is lost meanwhile, wait for it and do the work again.

        Raises DeviceError for a board that does not come back, JobError for work during which it
        was lost again and again.
        """
        for losses in range(_MOST_LOSSES):
            if losses:
                self._say("is back")
            try:
                return work()
            except LostError as error:
                lost = error
                if not self.patience_seconds:
                    raise
                self._await(error)
        raise JobError(f"{lost}, {_MOST_LOSSES} times during the same work") from lost

    def _await(self, lost: LostError) -> None:
        """Wait until a board that was lost can be reached again; raises DeviceError."""
        self.losses += 1
        limit = self.patience_seconds if self.connection.opened else _UNREACHED_SECONDS
        self._say(f"{lost}: waiting for up to {duration(limit)}")
        deadline, pause = time.monotonic() + limit, 0.5
        while not self._given_up.wait(pause):
            try:
                with self._lock:
                    return self._connect()
            except LostError as error:
                if time.monotonic() > deadline:
                    raise DeviceError(f"{error}; it was lost for {duration(limit)}") from error
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        raise DeviceError(str(lost)) from lost

    def interrupt(self) -> None:
        """Wait no longer for a board that was lost."""
        self._given_up.set()

    def start(self, runtime: str, version: str) -> tuple[JobProcess, str]:
        """Start a job runner on the board; return it and its folder for arrays there."""
        with self._lock:
            self._connect()
            environment, runtime_file = self._prepared(runtime, version)
            launcher = self._file(Path(on_board.__file__))
            self.push(launcher)
            arrays = f"{self.store.known.folder}/{on_board.WORK}/{secrets.token_hex(8)}"
            there = self.store.path_of
            words = (self.python, "-I", there(launcher), "jobs", environment, there(runtime_file))
            return JobProcess(self.connection.command((*words, arrays))), arrays

    def push(self, *wanted: Pushable) -> None:
        """Push files that are not there."""
        with self._lock:
            self._connect()
            size = sum(file.size_bytes for file in self.store.missing(wanted))
            if size > _LOUD_BYTES:
                self._say(f"pushing {size / 1e6:.1f} MB")
            self.store.push(wanted)

    def there(self, path: Path) -> str:
        """Push a file unless it is there, and return its path on the board."""
        file = self._file(path)
        self.push(file)
        return self.store.path_of(file)

    def images_there(self, job: Job) -> str:
        """Push those images that a job runs, and return their path on the board."""
        with TemporaryFolder() as folder:
            path = Path(folder) / "images.npy"
            write_npy(path, job_images(job))
            return self.there(path)

    def present(self, runtime: str, version: str, place: str) -> object:
        """Return labels and image size of the artifact in a place; None where there is none."""
        with self._lock:
            self._connect()
            return self.store.present(*self._prepared(runtime, version), place)

    def install(self, path: Path, place: str) -> Installed:
        """Put a file in a place, and keep what was there; raises HemlineError."""
        with self._lock:
            self._connect()
            return self.store.install(self._file(path), place)

    def roll_back(self, place: str) -> Installed:
        """Exchange what is in a place with what was there before; raises HemlineError."""
        with self._lock:
            self._connect()
            return self.store.roll_back(place)

    def shell(self, command: str) -> None:
        """Run a shell command in the home folder; raises JobError when it fails."""
        words = ("sh", "-c", f"exec >&2; cd; {command}")
        code, _, said = self.connection.call(words, most_bytes=0, timeout_seconds=_COMMAND_SECONDS)
        if code:
            raise JobError(f"{self.name}: {command!r} failed (exit code {code}): {plain(said)}")

    def pull(self, path: str, most_bytes: int) -> bytes:
        """Return a file of the board and remove it there; raises JobError for one too large."""
        script = 'head -c "$2" "$1" && rm -f "$1"'
        code, content, said = self.connection.call(
            ("sh", "-c", script, "pull", path, str(most_bytes + 1)),
            most_bytes=most_bytes,
            timeout_seconds=_PULL_SECONDS,
        )
        if code:
            raise JobError(f"{self.name} returned no logits: {said}")
        return content

    @contextlib.contextmanager
    def ended_after(self, seconds: float) -> Iterator[None]:
        """Give up the connection when the block fails after so long: what hangs there ends with it.

        It would disturb the measurements that follow.
        """
        started = time.monotonic()
        try:
            yield
        except JobError:
            if time.monotonic() - started >= seconds:
                self.connection.close()
            raise

    def require_alive(self) -> None:
        """Raise DeviceError when the connection was cut; the next use connects again."""
        self.connection.require_alive()

    def close(self) -> None:
        """Give up the connection."""
        self.connection.close()
        if self._ours is not None:
            self._ours.cleanup()
            self._ours = None

    def _say(self, line: str) -> None:
        self._report.say(f"{self.name}: {line}")

    def _connect(self) -> None:
        if not self.connection.alive:
            self.store.forget()
            self.connection.open()

    def _misfit(self, runtime: str, version: str) -> str | None:
        try:
            self._wheels(runtime, version)
        except BackendError as error:
            return str(error)
        return None

    def _wheels(self, runtime: str, version: str) -> tuple[Pushable, ...]:
        """Return the wheels that a runtime needs there, looked for once; raises BackendError."""
        pair = (runtime, version)
        with self._lock:
            if pair not in self._wheels_of:
                self._connect()
                found = board_wheels(runtime, version, self.store.known)
                self._wheels_of[pair] = tuple(pushable(path, w.sha256) for path, w in found)
            return self._wheels_of[pair]

    def _prepared(self, runtime: str, version: str) -> tuple[str, Pushable]:
        """Return the environment of a runtime there, and our runtime file; pushed if need be."""
        wheels, runtime_file = self._wheels(runtime, version), self._runtime_file()
        environment = self._environment(wheels, find_backend(runtime).module)
        self.push(runtime_file)
        return environment, runtime_file

    def _environment(self, wheels: tuple[Pushable, ...], module: str) -> str:
        if self.store.environment_key(wheels) not in self.store.known.environments:
            self.push(*wheels)
            self._say(f"unpacking {', '.join(wheel.path.name for wheel in wheels)}")
        return self.store.environment(wheels, module)

    def _runtime_file(self) -> Pushable:
        self._ours = self._ours or TemporaryFolder()
        path = Path(self._ours.name) / NAME
        if not path.exists():
            write_runtime_file(path)
        return self._file(path)

    def _file(self, path: Path) -> Pushable:
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(f"cannot read {path}: {files.reason_of(error)}") from error
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self._hashes:
            self._hashes[key] = files.sha256_of(path)
        return pushable(path, self._hashes[key])


class SshRunner(Closing):
    """A job runner on a board; when the connection was cut, the next job starts another one."""

    def __init__(self, device: SshDevice, runtime: str, version: str) -> None:
        self._device = device
        self._runtime = runtime
        self._version = version
        self._process: JobProcess | None = None
        self._opened = 0
        self._arrays = ""

    def start(self) -> JobProcess:
        """Return the runner on the board, started anew when it or the connection has ended."""
        connection = self._device.connection
        if self._process is None or not connection.alive or self._opened != connection.opened:
            self.close()
            self._process, self._arrays = self._device.start(self._runtime, self._version)
            self._opened = connection.opened
        return self._process

    def run(self, job: Job, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Run a job whose paths are of this machine; outputs come back into job.arrays here.

        Raises DeviceError when the board was lost, JobError when the job runner died there or what
        it answered does not fit the job.
        """
        return self._device.lasting(lambda: self._run(job, timeout_seconds))

    def _run(self, job: Job, timeout_seconds: float) -> JobResult:
        process = self.start()
        remote = replace(
            job,
            id="job",
            artifact=self._device.there(Path(job.artifact)),
            images=self._device.images_there(job),
            first=0,
            arrays=self._arrays,
        )
        try:
            with self._device.ended_after(timeout_seconds):
                answer = process.run(remote, timeout_seconds=timeout_seconds)
            result = self._checked(job, remote, cleaned(answer))
        except JobError as error:
            self.close()
            self._device.require_alive()
            raise type(error)(self._local(str(error), job, remote)) from error
        failure = result.failure
        if failure is not None:
            failure = replace(failure, message=self._local(failure.message, job, remote))
        return replace(result, id=job.id, failure=failure)

    def time(self, job: TimingJob, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Time raw models on the board; raises DeviceError and JobError likewise."""
        before, process = self._process, self.start()
        if process is not before and not all(model.content for model in job.models):
            raise DeviceError(
                f"the connection to {self._device.name} was lost, and its files with it"
            )
        try:
            with self._device.ended_after(timeout_seconds):
                result = cleaned_times(process.time(job, timeout_seconds=timeout_seconds))
            require_times(job, result)
        except JobError as error:
            self.close()
            self._device.require_alive()
            raise type(error)(f"{self._device.name}: {plain(str(error))}") from error
        return result

    def close(self) -> None:
        """End the runner."""
        if self._process is not None:
            self._process.close()
        self._process = None

    def _checked(self, job: Job, remote: Job, result: JobResult) -> JobResult:
        """Return a result that fits the job, with its outputs in files here."""
        require_answer(remote, result)
        if result.failure is not None or "outputs" not in job.want:
            return result
        specs = read_stamped(Path(job.artifact)).stamp.find_outputs(job.outputs)
        count = len(job_images(job))
        cells = []
        for cell, found in zip(job.cells, result.cells, strict=True):
            paths = {
                spec.name: self._pull(job, array_name(remote, cell, at), count, spec)
                for at, spec in enumerate(specs)
            }
            cells.append(replace(found, outputs=paths))
        return replace(result, cells=tuple(cells))

    def _pull(self, job: Job, name: str, count: int, spec: OutputSpec) -> str:
        """Pull an output into a file whose name this side chooses, and return its path."""
        if job.arrays is None:
            raise DataError("the job wants outputs but has no folder for arrays")
        content = self._device.pull(f"{self._arrays}/{name}", npy_bytes(count, spec))
        path = Path(job.arrays) / f"{job.id}-{name}"
        write_npy(path, read_output(content, count, spec, self._device.name))
        return str(path)

    def _local(self, message: str, job: Job, remote: Job) -> str:
        """Return a message of the board as one plain line, with the names that files have here."""
        line = plain(message)
        for there, here in ((remote.artifact, job.artifact), (remote.images, job.images)):
            line = line.replace(there, here)
        return f"{self._device.name}: {line}"

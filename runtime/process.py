"""Start the job runner in a child process and send it jobs."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

from hemline.child_process import StderrTail, how_it_ended
from hemline.closing import Closing
from hemline.contract.job import Job, JobResult
from hemline.contract.schema import from_document, to_document
from hemline.contract.timing import TimingJob
from hemline.errors import HemlineError, JobError
from hemline.files import parse_json
from hemline.safe_path import module_command

if TYPE_CHECKING:
    from hemline.environments.environment import RuntimeTarget

_STOP_SECONDS = 5.0
_MOST_IDLE = 6  # two for each of three runtimes, at 60 MB each
_LONGEST_REPLY = 256 << 20  # characters; ten million latencies have about 60 MB


def local_command() -> tuple[str, ...]:
    """Return the command that starts the job runner with this Python."""
    return (*module_command("hemline.runtime"), "jobs")


class JobProcess(Closing):
    """A job runner in a child process that stays open; one job at a time."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """Start the child with `command`, by default this Python's job runner."""
        try:
            self._child = subprocess.Popen(
                list(command or local_command()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise JobError(f"cannot start the job runner: {error}") from error
        self._stderr = StderrTail(self._child.stderr)
        # one job, one reply: a child that writes more has to wait
        self._lines: queue.Queue[str] = queue.Queue(maxsize=1)
        pumped = (self._child.stdout, self._lines)
        self._pump = threading.Thread(target=_pump, args=pumped, daemon=True)
        self._pump.start()

    def run(self, job: Job, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Run one job and wait for its result.

        Raises JobError when the child dies, replies with nonsense or exceeds the time-out; a
        failure inside the job is part of the result.
        """
        return self._result(job, f"{job.artifact} in {job.runtime}", timeout_seconds)

    def time(self, job: TimingJob, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Time raw models and wait for the result, as `run` does."""
        return self._result(job, f"{job.id} in {job.runtime}", timeout_seconds)

    def _result(self, job: Job | TimingJob, what: str, timeout_seconds: float) -> JobResult:
        line = json.dumps(to_document(job), separators=(",", ":"))
        try:
            assert self._child.stdin is not None  # noqa: S101 — Popen was asked for a pipe
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
            reply = self._lines.get(timeout=timeout_seconds)
        except queue.Empty as error:
            self._child.kill()
            raise JobError(f"{what} returned no result in {timeout_seconds:g} s") from error
        except (OSError, ValueError) as error:
            raise self._died(what) from error
        if not reply:
            raise self._died(what)
        try:
            where = f"the result of {job.id}"
            return from_document(JobResult, parse_json(reply, where=where), where=where)
        except HemlineError as error:
            raise JobError(f"the job runner returned no valid result: {error}") from error

    def close(self) -> None:
        """End the child: its standard input is closed, and it is killed if that is not enough."""
        if self._child.stdin is not None:
            with contextlib.suppress(OSError):  # the child may be gone already
                self._child.stdin.close()
        self._ended()
        self._end_pump()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._child.kill()
        super().__exit__(kind, *rest)

    def _end_pump(self) -> None:
        """Take what the child still said, so that the pump comes to its end."""
        deadline = time.monotonic() + _STOP_SECONDS  # a grandchild may hold the pipe open
        while self._pump.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                self._lines.get_nowait()
            self._pump.join(0.01)

    def _died(self, what: str) -> JobError:
        how = how_it_ended(self._ended(), self._stderr.text())
        return JobError(f"{what} ended the job runner {how}")

    def _ended(self) -> int:
        """Return the child's exit code; it is killed when it does not end."""
        try:
            return self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()


class JobPool(Closing):
    """Job processes that are handed from one piece of work to the next, several at a time.

    Each target has processes of its own, so that no two runtimes share one.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[RuntimeTarget, JobProcess]] = []  # that worked last stands last
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def process(self, target: RuntimeTarget) -> Iterator[JobProcess]:
        """Lend an idle process of a target, or a new one; one that failed is not lent again."""
        process = self._take(target) or JobProcess(target.command)
        try:
            yield process
        except BaseException:
            process.close()
            raise
        with self._lock:
            self._idle.append((target, process))
            surplus = [self._idle.pop(0)[1] for _ in self._idle[_MOST_IDLE:]]
        for each in surplus:
            each.close()

    def close(self) -> None:
        """End the idle processes."""
        with self._lock:
            processes = [process for _, process in self._idle]
            self._idle.clear()
        for process in processes:
            process.close()

    def _take(self, target: RuntimeTarget) -> JobProcess | None:
        with self._lock:
            fitting = [pair for pair in self._idle if pair[0] == target]
            if not fitting:
                return None
            self._idle.remove(fitting[-1])
            return fitting[-1][1]


def _pump(stream: IO[str], lines: queue.Queue[str]) -> None:
    """Move answers into a queue, so that waiting for one can have a time-out; "" is the end."""
    with stream:
        while line := stream.readline(_LONGEST_REPLY):
            lines.put(line)
    lines.put("")

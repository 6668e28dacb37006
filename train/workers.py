"""Run several trainings side by side: as Ray tasks, or in processes here with one thread each.

A task reports to this process and waits for the answer, which may tell it to stop. It runs in a
fresh Python: its function is named as "module:attribute", and takes its arguments and `report`.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import wait
from typing import Any, NamedTuple, Protocol

from hemline.child_process import PipedChild, how_it_ended, parent_pipe
from hemline.closing import Closing
from hemline.cluster import Cluster, Resources, own, require_same, result_of
from hemline.errors import HemlineError, JobError, first_line

Report = Callable[[Any], bool]  # returns whether the task is to stop
Load = Callable[[], Any]  # data, in the worker
_TICK_SECONDS = 1.0


class Event(NamedTuple):
    """A task reports `value`, or has ended and `result` returns its result or raises its error.

    result raises JobError when the worker was lost.
    """

    key: int
    value: Any = None
    result: Callable[[], Any] | None = None


class Workers(Protocol):
    """Where tasks run."""

    def places(self) -> int:
        """Return how many tasks run at once."""

    def shared(self, value: Any) -> Load:
        """Return what gives a value to each task."""

    def start(self, key: int, function: str, *arguments: Any) -> None:
        """Start a task under a number that no running one has."""

    def next(self, seconds: float = _TICK_SECONDS) -> Event | None:
        """Return what happens next; None when nothing does in time."""

    def answer(self, key: int, *, stop: bool) -> None:
        """Answer a report, for which its task waits."""


def follow(
    workers: Workers,
    fill: Callable[[], bool],
    report: Callable[..., None],
    end: Callable[[int, Callable[[], Any]], None],
) -> None:
    """Call `report` for each report and `end` for each end of a task, until none is running.

    fill: starts tasks while there is room, and returns whether any is running.
    """
    while fill():
        event = workers.next()
        if event is not None and event.result is not None:
            end(event.key, event.result)
        elif event is not None:
            report(event.key, *event.value)


def _run(function: str, arguments: tuple[Any, ...], report: Report) -> Any:
    from hemline.train.tensorflow import quiet_keras

    quiet_keras()  # before what imports it
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(*arguments, report)


class _Relay:
    """Holds, on a cluster, each report until its task has the answer."""

    def __init__(self) -> None:
        import asyncio

        self._reports: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[bool]] = {}

    async def report(self, key: int, value: Any) -> bool:
        import asyncio

        answer = self._answers[key] = asyncio.get_running_loop().create_future()
        await self._reports.put((key, value))
        return bool(await answer)

    async def next(self) -> tuple[int, Any]:
        return await self._reports.get()

    async def answer(self, key: int, stop: bool) -> None:
        self._answers.pop(key).set_result(stop)


def _on_ray(
    key: int, relay: Any, version: Any, function: str, arguments: tuple[Any, ...]
) -> Any:  # pragma: no cover — in another process
    require_same(version)
    import ray

    return _run(function, arguments, lambda value: bool(ray.get(relay.report.remote(key, value))))


class RayWorkers:
    """Tasks on a cluster, of the same resources each."""

    def __init__(self, cluster: Cluster, task: Resources) -> None:
        """Raise UsageError where no machine can run such a task."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._cluster, self._task = ray, cluster, task
        cluster.require(task)
        # who knows how far a lost task was starts it again; the relay is near this process
        self._remote = ray.remote(num_cpus=task.cpus, num_gpus=task.gpus, max_retries=0)(_on_ray)
        near = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        relay = ray.remote(num_cpus=0, max_concurrency=1000, scheduling_strategy=near)(_Relay)
        self._relay = relay.remote()
        self._report = self._relay.next.remote()
        self._running: dict[Any, int] = {}

    def places(self) -> int:
        """Return how many tasks run at once, which machines that come and go change."""
        return max(1, self._cluster.places(self._task))

    def shared(self, value: Any) -> Load:
        """Put a value where each task can get it."""
        reference = self._ray.put(value)
        return lambda: result_of(reference)

    def start(self, key: int, function: str, *arguments: Any) -> None:
        """Start a task; it waits while the cluster is busy."""
        task = self._remote.remote(key, self._relay, own(), function, arguments)
        self._running[task] = key

    def next(self, seconds: float = _TICK_SECONDS) -> Event | None:
        """Return the next report of a running task, or the next end."""
        waiting = [self._report, *self._running]
        ready, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
        if not ready:
            return None
        if ready[0] != self._report:
            return Event(self._running.pop(ready[0]), None, lambda: result_of(ready[0]))
        key, value = result_of(self._report)
        self._report = self._relay.next.remote()
        return Event(key, value) if key in self._running.values() else None

    def answer(self, key: int, *, stop: bool) -> None:
        """Answer a report."""
        self._relay.answer.remote(key, stop)


class LocalWorkers(Closing):
    """Tasks in processes of this machine, as many at once as it has cores, one thread each."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._running: dict[int, PipedChild] = {}

    def places(self) -> int:
        """Return how many tasks run at once."""
        return self._places

    def shared(self, value: Any) -> Load:
        """Send a value with each task."""
        return partial(_given, "result", value)

    def start(self, key: int, function: str, *arguments: Any) -> None:
        """Start a process."""
        child = self._running[key] = PipedChild(__name__)
        with contextlib.suppress(OSError):  # it has ended: `next` sees that
            child.pipe.send((function, arguments))

    def next(self, seconds: float = _TICK_SECONDS) -> Event | None:
        """Return the next report or the next end."""
        ready = wait([child.pipe for child in self._running.values()], seconds)
        for key, child in self._running.items():
            if child.pipe in ready:
                return self._event(key, child)
        return None

    def answer(self, key: int, *, stop: bool) -> None:
        """Answer a report."""
        with contextlib.suppress(OSError):  # it has ended
            self._running[key].pipe.send(stop)

    def close(self) -> None:
        """End all processes."""
        for child in self._running.values():
            child.end()
        self._running.clear()

    def _event(self, key: int, child: PipedChild) -> Event:
        try:
            kind, value = child.pipe.recv()
        except (EOFError, OSError):
            how = how_it_ended(child.process.wait(), "")
            kind, value = "error", JobError(f"its process ended {how}")
        if kind == "report":
            return Event(key, value)
        child.close()
        del self._running[key]
        return Event(key, None, partial(_given, kind, value))


def _given(kind: str, value: Any) -> Any:
    if kind == "error":
        raise value
    return value


def _in_child() -> None:  # pragma: no cover — in another process
    pipe = parent_pipe()
    logging.getLogger("hemline.data").setLevel(logging.ERROR)  # the parent has warned already
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

    def report(value: Any) -> bool:
        pipe.send(("report", value))
        return bool(pipe.recv())

    try:
        from hemline.train.tensorflow import quiet_keras

        quiet_keras()
        function, arguments = pipe.recv()
        pipe.send(("result", _run(function, arguments, report)))
    except HemlineError as error:
        pipe.send(("error", error))
    except (EOFError, OSError):
        os._exit(1)  # the parent is gone
    except Exception as error:  # noqa: BLE001 — the parent makes one line of any
        text = f"a training failed ({type(error).__name__}: {first_line(error)})"
        pipe.send(("error", HemlineError(text)))


if __name__ == "__main__":
    _in_child()

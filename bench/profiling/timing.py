"""Time models without stamps on a device, in turn, so that their times can be compared.

One child for each settings keeps all of its models open; the rounds go through all children.
"""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from hemline.bench.devices.device import Device
from hemline.bench.devices.inspection import Runner
from hemline.closing import Closing
from hemline.contract.job import CellResult, JobResult, Node
from hemline.contract.settings import DEFAULT, Settings
from hemline.contract.timing import RawModel, TimingJob
from hemline.errors import JobError

ROUNDS = 9
INVOCATIONS = 100
SLICE_NS = 3_000_000  # for each model in each round: 15 models × 9 rounds take 0.4 s
TURN_NS = 30_000_000  # for a model and for all its parts: once is 15 ms for a ResNet-50
_WARMUP = 20
_COUNTED = 9  # an odd number, as in instruction_count.py
_SECONDS = 120.0  # of a job


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedModel:
    """A model to time.

    name: for messages.
    content: its bytes, without a stamp.
    settings: how the runtime is opened.
    """

    name: str
    content: bytes
    settings: Settings = DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTimes:
    """What came of one model.

    rounds_ns: nanoseconds of each invocation, a tuple a round; instructions on an emulated device.
    delegate: what ran its operators.
    nodes: of the graph that the runtime executes, as in CellResult.
    """

    rounds_ns: tuple[tuple[int, ...], ...]
    delegate: str
    nodes: tuple[Node, ...]

    @property
    def ns(self) -> int:
        """Return the median of the rounds' medians."""
        return round(statistics.median(map(statistics.median, self.rounds_ns)))


class ModelTimer(Closing):
    """Times models in one runtime of a device; what it has opened stays open."""

    def __init__(self, device: Device, runtime: str, version: str, *, threads: int = 1) -> None:
        """`threads` is for every model; children are started when they are needed."""
        self.device, self.runtime, self.version, self.threads = device, runtime, version, threads
        self.last: JobResult | None = None  # has facts of the host and versions
        self._runners: dict[Settings, Runner] = {}
        self._opened: dict[tuple[Settings, str], CellResult] = {}

    def time(
        self,
        models: Sequence[TimedModel],
        *,
        parts: Sequence[TimedModel] = (),
        rounds: int = ROUNDS,
        invocations: int = INVOCATIONS,
        slice_ns: int = SLICE_NS,
    ) -> tuple[ModelTimes, ...]:
        """Time models in turn, round by round; return their times in the same order.

        `parts` of a model, with the same settings, take turns at each invocation, behind the others
        in each round.
        A device that counts instructions, the same every time, gets one round. Raises JobError that
        names the model which a runtime refuses or which ends its process, DeviceError when the
        device was lost.
        """
        every = (*models, *parts)
        opened = [self.open(model) for model in every]
        if self.device.capabilities.instructions:
            rounds, invocations, slice_ns = 1, _COUNTED, 0
        job = TimingJob(
            id=f"{len(every)} models",
            runtime=self.runtime,
            models=(),
            threads=self.threads,
            warmup=_WARMUP,
            invocations=invocations,
            slice_ns=slice_ns,
        )
        turns = [
            replace(job, models=tuple(map(_opened, group)), settings=settings)
            for settings, group in groupby(models, lambda model: model.settings)
        ]
        if parts:
            names, settings = tuple(map(_opened, parts)), parts[0].settings
            turns.append(replace(job, models=names, settings=settings, in_turn=True))
        times: list[list[tuple[int, ...]]] = [[] for _ in every]
        for _ in range(rounds):
            cells = [cell for turn in turns for cell in self._run(turn).cells]
            for found, cell in zip(times, cells, strict=True):
                found.append(cell.latencies_ns)
        return tuple(
            ModelTimes(rounds_ns=tuple(each), delegate=cell.delegate, nodes=cell.nodes)
            for each, cell in zip(times, opened, strict=True)
        )

    def close(self) -> None:
        """End the children."""
        for runner in self._runners.values():
            runner.close()
        self._runners.clear()

    def open(self, model: TimedModel) -> CellResult:
        """Open and invoke a model in a job of its own, so that a crash is that of this model."""
        key = (model.settings, _key(model))
        if key not in self._opened:
            content = base64.b64encode(model.content).decode()
            job = TimingJob(
                id=model.name,
                runtime=self.runtime,
                models=(RawModel(name=key[1], content=content),),
                threads=self.threads,
                settings=model.settings,
            )
            self._opened[key] = self._run(job).cells[0]
        return self._opened[key]

    def _run(self, job: TimingJob) -> JobResult:
        if job.settings not in self._runners:
            self._runners[job.settings] = self.device.open(self.runtime, self.version)
        result = self._runners[job.settings].time(job, timeout_seconds=_SECONDS)
        if result.failure is not None:
            raise JobError(f"{job.id}: {result.failure.message}")
        self.last = result
        return result


def _opened(model: TimedModel) -> RawModel:
    return RawModel(name=_key(model))


def _key(model: TimedModel) -> str:
    return hashlib.sha256(model.content).hexdigest()

"""Check what artifacts answer on a device: right or not, and how near to this machine's bits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hemline.bench.devices import HERE_BUSY, Device, Runner
from hemline.bench.devices.equality import Equality, equality_of
from hemline.bench.devices.micro.micro_jobs import MICRO
from hemline.closing import Closing
from hemline.contract.conditions import cell_of, conditions_of
from hemline.contract.evaluation_set import EvaluationSplit, load_split
from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.manifest import Artifact, Manifest, Status
from hemline.contract.record import Accuracy, Arena, Instructions, Payload, Record
from hemline.contract.specs import LOGITS
from hemline.errors import DeviceError, GateError, HemlineError, JobError
from hemline.runtime.backends import BACKENDS
from hemline.runtime.process import JobProcess

IMAGES = 100
_SECONDS = 600.0  # a model of 100 million MACs takes minutes in plain loops
_FORMATS = {backend.name: backend.format for backend in (*BACKENDS.values(), MICRO)}
_Logits = npt.NDArray[np.float32]
Only = Callable[[Artifact, str, str], bool]  # artifact, runtime, version
Cost = Callable[[Runner, Artifact, str], Record]


def nothing(*_: object) -> None:
    """Do nothing: nobody wants to stop, or to keep anything."""


@runtime_checkable
class Referenced(Protocol):
    """A device whose answers are compared with others than those of the same runtime here."""

    def reference(self, runtime: str) -> tuple[Runner, str]:
        """Return a runner of this machine and the runtime to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one artifact did in one runtime of a device.

    artifact: file name in the bundle.
    runtime, version: that ran it.
    device: name of the device.
    status: right or wrong by the bounds that verification has; refused when it was not run.
    reason: why it is not right; empty when it is.
    delegate: what really ran the operators; empty when refused.
    software: whether a program in place of a GPU did.
    equality: with the reference, on this machine; None when refused.
    records: Accuracy and Arena payloads; empty when refused.
    """

    artifact: str
    runtime: str
    version: str
    device: str
    status: Status
    reason: str
    delegate: str = ""
    software: bool = False
    equality: Equality | None = None
    records: tuple[Record, ...] = ()

    def __str__(self) -> str:
        where = f"{self.artifact} in {self.runtime} on {self.device}: {self.status}"
        if self.equality is None:
            return f"{where} ({self.reason})"
        reason = f" ({self.reason})" if self.reason else ""
        payloads = (record.payload for record in self.records)
        costs = [text for payload in payloads if (text := _cost_text(payload))]
        seen = ", ".join((_nearness(self.equality), *costs))
        return f"{where}{reason}, {seen}; ran on {self.delegate}"


def check(
    bundle: Path,
    manifest: Manifest,
    device: Device,
    *,
    only: Only | None = None,
    cost: Cost | None = None,
    stop: Callable[[], None] = nothing,
    keep: Callable[[Check], None] = nothing,
    say: Callable[[str], None],
) -> tuple[Check, ...]:
    """Run the first validation images of every artifact that fits in every runtime of a device.

    `only` says which of them, None for all; `cost` measures something else in the same runner,
    before it has run anything; `keep` and `say` get each check as it comes, so that a device that
    is lost has lost what was under way; `stop` raises when the user has enough. Raises HemlineError
    when the device cannot be used or no artifact fits, DeviceError when it was lost.
    """
    split = load_split(bundle, "validation", manifest.evaluation_sha256)
    checks = []
    for runtime, version in device.runtimes():
        fitting = [
            artifact
            for artifact in manifest.artifacts
            if artifact.format == _FORMATS[runtime]
            and (only is None or only(artifact, runtime, version))
        ]
        with _Reference(device, runtime) as reference:
            for found in _check_runtime(
                bundle, manifest, split, device, (runtime, version), fitting, reference, cost
            ):
                keep(found)
                say(str(found))
                checks.append(found)
                stop()
    if not checks:
        raise HemlineError(f"no artifact in {bundle} fits a runtime of {device.name}")
    return tuple(checks)


def require_right(checks: Iterable[Check], device: Device) -> None:
    """Raise GateError naming what is wrong on a device, HemlineError when nothing ran there."""
    found = tuple(checks)
    wrong = [f"{c.artifact} in {c.runtime} ({c.reason})" for c in found if c.status == "failed"]
    if wrong:
        raise GateError(f"wrong on {device.name}: {'; '.join(wrong)}; do not use it there")
    if all(each.status == "refused" for each in found):
        raise HemlineError(f"nothing runs on {device.name}: {found[0].reason}")


def only_right(manifest: Manifest, checks: Iterable[Check]) -> Manifest:
    """Return a manifest with the verdicts only that hold on a device too, where a GPU is one."""
    right = {
        (c.artifact, c.runtime, c.version)
        for c in checks
        if c.status == "passed" and not c.software
    }
    return replace(
        manifest,
        artifacts=tuple(
            replace(
                artifact,
                verdicts=tuple(
                    verdict
                    for verdict in artifact.verdicts
                    if (artifact.name, verdict.runtime, verdict.version) in right
                ),
            )
            for artifact in manifest.artifacts
        ),
    )


def _check_runtime(
    bundle: Path,
    manifest: Manifest,
    split: EvaluationSplit,
    device: Device,
    runtime: tuple[str, str],
    artifacts: list[Artifact],
    reference: _Reference,
    cost: Cost | None,
) -> Iterator[Check]:
    for artifact in artifacts:
        refused = Check(
            artifact=artifact.name,
            runtime=runtime[0],
            version=runtime[1],
            device=device.name,
            status="refused",
            reason="",
        )
        with tempfile.TemporaryDirectory(prefix="hemline-") as arrays:
            job = _job(bundle, artifact, split, runtime[0], arrays)
            try:
                # a process of its own for each: what breaks in native code breaks alone
                with device.open(*runtime) as there:
                    costs = () if cost is None else (cost(there, artifact, runtime[0]),)
                    result, logits = _run(there, job)
            except DeviceError:
                raise  # that says nothing of the artifact
            except JobError as error:
                yield replace(refused, reason=str(error))
                continue
            equality = equality_of(artifact, logits, reference.logits(job))
        judged = _judge(refused, artifact, split, logits)
        cell = result.cells[0]
        yield replace(
            judged,
            equality=equality,
            delegate=cell.delegate,
            software=cell.software,
            records=(*_records(manifest, artifact, device, result, split.answers(logits)), *costs),
        )


def _cost_text(payload: Payload) -> str:
    if isinstance(payload, Arena):
        return f"{payload.bytes:,} bytes of arena"
    if isinstance(payload, Instructions):
        return f"{payload.per_inference / 1e6:.3f} million instructions"
    return ""


def _nearness(equality: Equality) -> str:
    equal = f"{equality.logits - equality.unequal} of {equality.logits} logits have the same bits"
    steps = equality.largest_steps
    in_steps = "1 step" if steps == 1 else f"{steps} steps"
    apart = f"{equality.largest_difference:.1e}" if steps is None else in_steps
    return f"{equal}, the others within {apart}" if equality.unequal else equal


def _job(
    bundle: Path, artifact: Artifact, split: EvaluationSplit, runtime: str, arrays: str
) -> Job:
    return Job(
        id="check",
        artifact=str(bundle / artifact.name),
        runtime=runtime,
        images=str(split.images_path),
        count=IMAGES,
        cells=(JobCell(),),
        want=("outputs",),
        arrays=arrays,
        allow_unsupported=runtime not in BACKENDS,  # no stamp knows of what is only checked
    )


def _run(runner: Runner, job: Job) -> tuple[JobResult, _Logits]:
    result = runner.run(job, timeout_seconds=_SECONDS)
    if result.failure is not None:
        raise JobError(result.failure.message)
    logits: _Logits = np.load(result.cells[0].outputs[LOGITS])
    return result, logits


class _Reference(Closing):
    """A runner of this machine that a device's answers are compared with; started when needed."""

    def __init__(self, device: Device, runtime: str) -> None:
        self._device, self._runtime = device, runtime
        self._runner: Runner | None = None
        self._allow_unsupported = False

    def logits(self, job: Job) -> _Logits:
        """Return what a job gives here."""
        with HERE_BUSY:
            return self._logits(job)

    def _logits(self, job: Job) -> _Logits:
        if self._runner is None:
            self._start()
        job = replace(job, id="reference", runtime=self._runtime)
        if self._allow_unsupported:
            job = replace(job, allow_unsupported=True)
        assert self._runner is not None  # noqa: S101 — started above
        return _run(self._runner, job)[1]

    def _start(self) -> None:
        if isinstance(self._device, Referenced):
            self._runner, self._runtime = self._device.reference(self._runtime)
            self._allow_unsupported = True
        else:
            self._runner = JobProcess()

    def close(self) -> None:
        """End the runner."""
        if self._runner is not None:
            self._runner.close()


def _judge(seen: Check, artifact: Artifact, split: EvaluationSplit, logits: _Logits) -> Check:
    """Hold the logits to the Keras model's, within the bounds of the artifact."""
    keras = split.logits[: len(logits)]
    difference = float(np.abs(logits - keras).max())
    agreement = int((logits.argmax(axis=1) == keras.argmax(axis=1)).sum())
    reasons = []
    if not difference <= artifact.tolerance:  # also when it is no number
        reasons.append(f"logits differ by {difference:.3g} (tolerance {artifact.tolerance:.3g})")
    if agreement < artifact.minimum_agreement * len(logits):
        reasons.append(f"only {agreement} of {len(logits)} labels agree with the Keras model")
    status: Status = "failed" if reasons else "passed"
    return replace(seen, status=status, reason="; ".join(reasons))


def _records(
    manifest: Manifest, artifact: Artifact, device: Device, result: JobResult, answers: Accuracy
) -> tuple[Record, ...]:
    cell = cell_of(manifest, artifact, result, device=device.name)
    conditions = conditions_of(result)
    payloads: list[Payload] = [answers]
    arena_bytes = result.cells[0].arena_bytes
    if arena_bytes is not None:
        payloads.append(Arena(bytes=arena_bytes))
    return tuple(Record(cell=cell, conditions=conditions, payload=each) for each in payloads)

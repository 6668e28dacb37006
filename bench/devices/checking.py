"""Check artifacts on a device: passed or failed, and how near to this machine's bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.bench.devices.device import HERE_BUSY, Device
from hemline.bench.devices.emulation.instruction_count import count_instructions
from hemline.bench.devices.equality import Equality, equality_of
from hemline.bench.devices.inspection import Runner
from hemline.closing import Closing
from hemline.contract.conditions import cell_of, conditions_of
from hemline.contract.evaluation_set import EvaluationSplit, load_split
from hemline.contract.job import Job, JobResult
from hemline.contract.manifest import Artifact, Manifest
from hemline.contract.parity import check_parity
from hemline.contract.record import Accuracy, Arena, Instructions, Payload, Record
from hemline.contract.specs import Status
from hemline.errors import DeviceError, GateError, HemlineError, JobError
from hemline.folders import TemporaryFolder
from hemline.progress import tracked

IMAGES = 100
JOB_SECONDS = 600.0  # a model of 100 million MACs takes minutes in plain loops
_Logits = npt.NDArray[np.float32]
Only = Callable[[Artifact, str, str], bool]  # artifact, runtime, version


def nothing(*_: object) -> None:
    """Do nothing: nobody wants to stop, or to keep anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one artifact did in one runtime of a device.

    artifact: file name in the bundle.
    runtime, version: that ran it.
    device: name of the device.
    status: passed or failed by the bounds of verification; failed also when the runtime crashed or
        hung; refused when it was not run.
    reason: why it did not pass; empty when it did.
    delegate: what really ran the operators; empty without logits.
    software: whether a program in place of a GPU did.
    equality: with the reference, on this machine; None without logits.
    correct_here: images that the reference classifies correctly; None also without labels.
    records: Accuracy and Arena payloads; empty without logits.
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
    correct_here: int | None = None
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
    images: int = IMAGES,
    stop: Callable[[], None] = nothing,
    keep: Callable[[Check], None] = nothing,
    report: Callable[[str], None],
) -> tuple[Check, ...]:
    """Run the first validation images of every artifact that fits in every runtime of a device.

    `only` says which of them, None for all. `keep` and `report` get each check as it comes, so that
    a device that is lost has lost one check only; `stop` raises when the user interrupts. Raises
    HemlineError when the device cannot be used or no artifact fits, DeviceError when it was lost.
    """
    split = load_split(bundle, "validation", manifest.evaluation_sha256)
    checks = []
    for runtime, version in device.runtimes():
        fitting = [
            artifact
            for artifact in manifest.artifacts
            if artifact.format == device.backend(runtime).format
            and (only is None or only(artifact, runtime, version))
        ]
        checking = _Checking(bundle, manifest, split, device, (runtime, version), images)
        with _Reference(device, runtime) as reference:
            for artifact in tracked(fitting, len(fitting), f"{device.name}, {runtime}, files"):
                checked = checking.check(artifact, reference)
                keep(checked)
                report(str(checked))
                checks.append(checked)
                stop()
    if not checks:
        raise HemlineError(f"no artifact in {bundle} fits a runtime of {device.name}")
    return tuple(checks)


def require_passed(checks: Iterable[Check], device: Device) -> None:
    """Raise GateError naming what failed on a device, HemlineError when nothing ran there."""
    every = tuple(checks)
    failed = [f"{c.artifact} in {c.runtime}: {c.reason}" for c in every if c.status == "failed"]
    if failed:
        raise GateError(f"failed on {device.name}: {'; '.join(failed)}; do not use it there")
    if every and all(each.status == "refused" for each in every):
        raise HemlineError(f"nothing runs on {device.name}: {every[0].reason}")


def only_passed(manifest: Manifest, checks: Iterable[Check]) -> Manifest:
    """Return a manifest with only the verdicts that passed on a device too, where a GPU is one."""
    passed = {
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
                    if (artifact.name, verdict.runtime, verdict.version) in passed
                ),
            )
            for artifact in manifest.artifacts
        ),
    )


@dataclass(frozen=True, slots=True)
class _Checking:
    """The checks of a bundle in one runtime of a device."""

    bundle: Path
    manifest: Manifest
    split: EvaluationSplit
    device: Device
    runtime: tuple[str, str]
    images: int

    def check(self, artifact: Artifact, reference: _Reference) -> Check:
        """Check one artifact; raises DeviceError when the device was lost."""
        name, version = self.runtime
        failed = Check(
            artifact=artifact.name,
            runtime=name,
            version=version,
            device=self.device.name,
            status="failed",
            reason="",
        )
        with TemporaryFolder() as arrays:
            job = self._job(artifact, arrays)
            try:
                result, costs = self._run(artifact, job)
            except DeviceError:
                raise  # that says nothing of the artifact
            except JobError as error:  # its process died or hung
                return replace(failed, reason=str(error))
            if result.failure is not None:
                return replace(failed, status=result.failure.status, reason=result.failure.message)
            logits = result.logits()
            here = reference.logits(job, artifact.sha256)
        keras = self.split.logits[: len(logits)]
        records = (*self._records(artifact, result, logits), *costs)
        parity = check_parity(logits, keras, artifact.output, artifact.bounds)
        return replace(
            failed,
            status="passed" if parity.passed else "failed",
            reason=parity.reason,
            equality=equality_of(artifact, logits, here),
            correct_here=self.split.accuracy(here).correct,
            delegate=result.cells[0].delegate,
            software=result.cells[0].software,
            # of what failed, nothing is compared
            records=tuple(r for r in records if parity.passed or isinstance(r.payload, Accuracy)),
        )

    def _job(self, artifact: Artifact, arrays: str) -> Job:
        return Job(
            id="check",
            artifact=str(self.bundle / artifact.name),
            runtime=self.runtime[0],
            images=str(self.split.images_path),
            count=self.images,
            arrays=arrays,
            allow_unsupported=self.device.capabilities.own_runtimes,  # no stamp names those
        )

    def _run(self, artifact: Artifact, job: Job) -> tuple[JobResult, tuple[Record, ...]]:
        """Run a job, in a process of its own: what breaks in native code breaks alone."""
        with self.device.open(*self.runtime) as runner:
            costs: tuple[Record, ...] = ()
            if self.device.capabilities.instructions:  # the same only where nothing ran before
                name = self.runtime[0]
                costs = count_instructions(
                    runner, self.device, self.bundle, self.manifest, artifact, name
                )
            return runner.run(job, timeout_seconds=JOB_SECONDS), costs

    def _records(
        self, artifact: Artifact, result: JobResult, logits: _Logits
    ) -> tuple[Record, ...]:
        cell = cell_of(self.manifest, artifact, result, device=self.device.name)
        conditions = conditions_of(result)
        payloads: list[Payload] = [self.split.accuracy(logits)]
        arena_bytes = result.cells[0].arena_bytes
        if arena_bytes is not None:
            payloads.append(Arena(bytes=arena_bytes))
        return tuple(Record(cell=cell, conditions=conditions, payload=each) for each in payloads)


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


# what this machine computed, for all boards of a fleet; by artifact, runtime and images
_COMPUTED: dict[tuple[object, ...], _Logits] = {}


class _Reference(Closing):
    """A runner of this machine that predictions are compared with; started when needed."""

    def __init__(self, device: Device, runtime: str) -> None:
        self._device, self._runtime = device, runtime
        self._runner: Runner | None = None

    def logits(self, job: Job, sha256: str) -> _Logits:
        """Return what a job computes here, of the artifact with this hash."""
        written = Path(job.images).stat().st_mtime_ns
        key = (sha256, job.runtime, job.images, written, job.count)
        with HERE_BUSY:
            if key in _COMPUTED:
                return _COMPUTED[key]
            if self._runner is None:
                self._runner, self._runtime = self._device.reference(self._runtime)
            job = replace(job, id="reference", runtime=self._runtime)
            result = self._runner.run(job, timeout_seconds=JOB_SECONDS)
            if result.failure is not None:
                raise JobError(result.failure.message)
            _COMPUTED[key] = result.logits()
            return _COMPUTED[key]

    def close(self) -> None:
        """End the runner."""
        if self._runner is not None:
            self._runner.close()

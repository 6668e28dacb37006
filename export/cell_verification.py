"""Verify one artifact in one runtime: run it on every split and compare it with the reference."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline import files
from hemline.contract.conditions import cell_of, conditions_of
from hemline.contract.evaluation_set import EvaluationSplit
from hemline.contract.job import HostFacts, Job, JobCell, JobResult
from hemline.contract.manifest import Artifact, Manifest, Verdict
from hemline.contract.parity import RULES, check_parity
from hemline.contract.record import Cell, Conditions, Record
from hemline.contract.score import Score
from hemline.contract.specs import Status
from hemline.environments.environment import RuntimeTarget
from hemline.errors import BackendError, JobError, remedy
from hemline.runtime.process import JobPool, JobProcess

# A cell without fast kernels would take minutes for all images: it is verified on the first ones of
# each split, and every table says so.
SLOW_NS = 1_000_000
SLOW_IMAGES = 1000
TRIAL_SECONDS = 120.0  # for the import and 13 images: longer is a runtime that hangs
_TRIAL = JobCell(warmup=3, invocations=9)
_Logits = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellVerification:
    """One artifact in one runtime: its verdict, and the accuracy records behind it."""

    artifact: str
    verdict: Verdict
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationCell:
    """One artifact to verify in one runtime.

    bundle: folder of the artifact.
    manifest: of the bundle.
    artifact: one of the manifest's.
    target: runtime and version.
    splits: by name, those to run.
    arrays: folder for logits.
    """

    bundle: Path
    manifest: Manifest
    artifact: Artifact
    target: RuntimeTarget
    splits: dict[str, EvaluationSplit]
    arrays: Path

    def verify(self, processes: JobPool) -> CellVerification:
        """Run every split in a process of the pool, and compare the logits with the reference's.

        Unsupported runtimes are run too: that is the only way to know what happens there.
        """
        try:
            with processes.process(self.target) as process:
                results = self._run_splits(process)
        except JobError as error:
            return self._without_logits("failed", str(error), lasting=False)
        failure = next((r.failure for r in results.values() if r.failure is not None), None)
        if failure is not None:
            # a full disk or a killed process says nothing lasting of the file: try again next time
            lasting = failure.kind not in ("data", "crash")
            return self._without_logits(failure.status, failure.message, lasting=lasting)
        logits = {name: result.logits() for name, result in results.items()}
        return self._compared(results, logits)

    def _without_logits(self, status: Status, reason: str, *, lasting: bool) -> CellVerification:
        verdict = replace(self._verdict(), status=status, reason=reason)
        if not lasting:
            verdict = replace(verdict, inputs_sha256="")
        return CellVerification(artifact=self.artifact.name, verdict=verdict)

    def _verdict(self) -> Verdict:
        return Verdict(
            runtime=self.target.runtime,
            version=self.target.version,
            status="passed",
            numpy_version=self.target.numpy_version,
            inputs_sha256=inputs_of(self.manifest, self.artifact, self.target),
            python_version=self.target.python,
        )

    def _compared(self, results: dict[str, JobResult], logits: _Logits) -> CellVerification:
        answers = {name: split.accuracy(logits[name]) for name, split in self.splits.items()}
        tested = logits["test"]
        parity = check_parity(
            tested,
            self.splits["test"].logits[: len(tested)],
            self.artifact.output,
            self.artifact.bounds,
        )
        verdict = replace(
            self._verdict(),
            status="passed" if parity.passed else "failed",
            reason=parity.reason,
            scores=tuple(
                Score(split=name, images=each.images, correct=each.correct)
                for name, each in answers.items()
                if each.correct is not None
            ),
            images=len(tested),
            agreement=parity.agreement,
            largest_difference=parity.largest_difference,
            rms_difference=parity.rms_difference,
            p99_difference=parity.p99_difference,
        )
        records = tuple(
            Record(
                cell=cell_of(self.manifest, self.artifact, results[name]),
                conditions=conditions_of(results[name]),
                payload=payload,
            )
            for name, payload in answers.items()
        )
        return CellVerification(artifact=self.artifact.name, verdict=verdict, records=records)

    def _run_splits(self, process: JobProcess) -> dict[str, JobResult]:
        """Run every split, or its first images only where the runtime is slow with this file."""
        jobs = {name: self._job(split) for name, split in self.splits.items()}
        trial = process.run(
            replace(jobs["test"], cells=(_TRIAL,), want=("latencies",), count=1),
            timeout_seconds=TRIAL_SECONDS,
        )
        if trial.failure is not None:
            return {"test": trial}
        if trial.runtime_version != self.target.version:
            raise BackendError(
                f"{self.target.name} contains {trial.runtime} {trial.runtime_version}",
                remedy=remedy("add again", target=self.target.name),
            )
        slow = statistics.median(trial.cells[0].latencies_ns) > SLOW_NS
        count = SLOW_IMAGES if slow else None
        return {name: process.run(replace(job, count=count)) for name, job in jobs.items()}

    def _job(self, split: EvaluationSplit) -> Job:
        return Job(
            id=f"{self.artifact.name}-{self.target.name}-{split.name}",
            artifact=str(self.bundle / self.artifact.name),
            runtime=self.target.runtime,
            images=str(split.images_path),
            arrays=str(self.arrays),
            allow_unsupported=True,
        )


def inputs_of(manifest: Manifest, artifact: Artifact, target: RuntimeTarget) -> str:
    """Return the fingerprint of all that a verdict depends on."""
    return files.fingerprint(
        {
            "artifact": artifact.sha256,
            "evaluation": manifest.evaluation_sha256,
            "bounds": [artifact.tolerance, artifact.minimum_agreement],
            "parity": RULES,
            "slow": [SLOW_NS, SLOW_IMAGES],
            "runtime": [target.runtime, target.version, target.numpy_version, target.python],
        }
    )


def source_record(
    manifest: Manifest, source: str, split: EvaluationSplit, conditions: Conditions | None
) -> Record:
    """Return the accuracy of the source model, from the logits that were written at export.

    source: its kind.
    conditions: of that export; where an older Hemline did not record them, no host is named.
    """
    host = conditions.host.name if conditions else ""
    if conditions is None:
        conditions = Conditions(
            host=HostFacts(),  # none is known
            delegate="TensorFlow",
            versions=manifest.versions,
            commit=None,
            date=manifest.created,
        )
    return Record(
        cell=Cell(
            model=manifest.model,
            artifact=source,
            artifact_sha256=manifest.parent_sha256,
            size_bytes=0,
            runtime=source,
            runtime_version=conditions.versions.get(source, ""),
            host=host,
        ),
        conditions=conditions,
        payload=split.accuracy(split.logits),
    )

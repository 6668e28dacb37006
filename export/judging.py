"""Judge one artifact in one runtime: run it on every split and compare it with the Keras model."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline import files
from hemline.contract.card import Score
from hemline.contract.conditions import cell_of, conditions_of
from hemline.contract.evaluation_set import EvaluationSplit
from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.manifest import Artifact, Manifest, Status, Verdict
from hemline.contract.record import Accuracy, Cell, Conditions, Record
from hemline.contract.specs import LOGITS
from hemline.environments.environment import RuntimeTarget
from hemline.errors import BackendError, JobError
from hemline.host import host_facts
from hemline.provenance import commit
from hemline.runtime.process import JobPool, JobProcess

# A cell without fast kernels would take minutes for all images: it is judged on the first ones of
# each split, and every table says so.
SLOW_NS = 1_000_000
SLOW_IMAGES = 1000
_TRIAL = JobCell(warmup=3, invocations=9)
_TRIAL_SECONDS = 120.0  # for the import and 13 images: longer is a runtime that hangs


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One artifact in one runtime: its verdict, and the accuracy records behind it."""

    artifact: str
    verdict: Verdict
    records: tuple[Record, ...]


def inputs_of(manifest: Manifest, artifact: Artifact, target: RuntimeTarget) -> str:
    """Return the fingerprint of all that a verdict depends on."""
    return files.fingerprint(
        {
            "artifact": artifact.sha256,
            "evaluation": manifest.evaluation_sha256,
            "bounds": [artifact.tolerance, artifact.minimum_agreement],
            "slow": [SLOW_NS, SLOW_IMAGES],
            "runtime": [target.runtime, target.version, target.numpy_version, target.python],
        }
    )


def judge_cell(
    processes: JobPool,
    bundle: Path,
    manifest: Manifest,
    artifact: Artifact,
    target: RuntimeTarget,
    splits: dict[str, EvaluationSplit],
    arrays: Path,
) -> Outcome:
    """Run every split in one runtime, in a process of the pool, and judge the answers.

    It is run in unsupported runtimes too: only so is seen what happens there.
    """
    empty = Verdict(
        runtime=target.runtime,
        version=target.version,
        status="refused",
        reason="",
        scores=(),
        agreement=0,
        largest_difference=0.0,
        numpy_version=target.numpy_version,
        inputs_sha256=inputs_of(manifest, artifact, target),
        python_version=target.python,
    )
    try:
        with processes.process(target) as process:
            results = _run_splits(process, bundle, artifact, target, splits, arrays)
    except JobError as error:
        broken = replace(empty, status="failed", reason=str(error), inputs_sha256="")
        return Outcome(artifact=artifact.name, verdict=broken, records=())
    failure = next((r.failure for r in results.values() if r.failure is not None), None)
    if failure is not None:
        status: Status = "refused" if failure.kind in ("unsupported", "backend") else "failed"
        verdict = replace(empty, status=status, reason=failure.message)
        if failure.kind in ("data", "crash"):
            # a full disk or a killed process says nothing lasting of the file: try again next time
            verdict = replace(verdict, inputs_sha256="")
        return Outcome(artifact=artifact.name, verdict=verdict, records=())
    logits = {name: np.load(result.cells[0].outputs[LOGITS]) for name, result in results.items()}
    records = tuple(
        _record(manifest, artifact, results[name], splits[name], logits[name]) for name in splits
    )
    scores = tuple(
        Score(split=r.payload.split, images=r.payload.images, correct=r.payload.correct)
        for r in records
        if isinstance(r.payload, Accuracy)
    )
    verdict = replace(empty, scores=scores)
    tested = logits["test"]
    return Outcome(
        artifact=artifact.name,
        verdict=judge(artifact, verdict, tested, splits["test"].logits[: len(tested)]),
        records=records,
    )


def _run_splits(
    process: JobProcess,
    bundle: Path,
    artifact: Artifact,
    target: RuntimeTarget,
    splits: dict[str, EvaluationSplit],
    arrays: Path,
) -> dict[str, JobResult]:
    """Run every split, or its first images only where the runtime is slow with this file."""
    jobs = {name: _job(bundle, artifact, target, s, arrays) for name, s in splits.items()}
    trial = process.run(
        replace(jobs["test"], cells=(_TRIAL,), want=("latencies",), count=1),
        timeout_seconds=_TRIAL_SECONDS,
    )
    if trial.failure is not None:
        return {"test": trial}
    if trial.runtime_version != target.version:
        raise BackendError(
            f"{target.name} is really {trial.runtime} {trial.runtime_version}: "
            f"run `hemline runtimes remove {target.name}`, then add it again"
        )
    slow = statistics.median(trial.cells[0].latencies_ns) > SLOW_NS
    count = SLOW_IMAGES if slow else None
    return {name: process.run(replace(job, count=count)) for name, job in jobs.items()}


def _job(
    bundle: Path, artifact: Artifact, target: RuntimeTarget, split: EvaluationSplit, arrays: Path
) -> Job:
    return Job(
        id=f"{artifact.name}-{target.name}-{split.name}",
        artifact=str(bundle / artifact.name),
        runtime=target.runtime,
        images=str(split.images_path),
        cells=(JobCell(threads=1, batch=1),),
        want=("outputs",),
        arrays=str(arrays),
        allow_unsupported=True,
    )


def _record(
    manifest: Manifest,
    artifact: Artifact,
    result: JobResult,
    split: EvaluationSplit,
    logits: npt.NDArray[np.float32],
) -> Record:
    return Record(
        cell=cell_of(manifest, artifact, result),
        conditions=conditions_of(result),
        payload=split.answers(logits),
    )


def keras_record(manifest: Manifest, split: EvaluationSplit) -> Record:
    """Return the Keras model's answers, from the logits that were written at export."""
    known = manifest.versions  # of the export, which made the answers
    return Record(
        cell=Cell(
            model=manifest.model,
            artifact="keras",
            artifact_sha256=manifest.parent_sha256,
            size_bytes=0,
            runtime="keras",
            runtime_version=known.get("keras", ""),
            threads=1,
            batch=1,
            device="local",
            host=host_facts().name,
        ),
        conditions=Conditions(
            host=host_facts(),
            delegate="TensorFlow",
            versions=known,
            commit=commit(),
            date=manifest.created,
        ),
        payload=split.answers(split.logits),
    )


def judge(
    artifact: Artifact,
    verdict: Verdict,
    logits: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32],
) -> Verdict:
    """Complete a verdict from logits and the Keras model's, both float32 (images, classes)."""
    agreement = int((logits.argmax(axis=1) == reference.argmax(axis=1)).sum())
    difference = float(np.abs(logits - reference).max())
    reasons = []
    if not np.isfinite(difference):
        reasons.append("logits are not finite")
    elif difference > artifact.tolerance:
        reasons.append(f"logits differ by {difference:.3g} (tolerance {artifact.tolerance:.3g})")
    if agreement < artifact.minimum_agreement * len(logits):
        reasons.append(
            f"only {100 * agreement / len(logits):.1f} % of the labels agree with the Keras model "
            f"(at least {100 * artifact.minimum_agreement:g} %)"
        )
    return replace(
        verdict,
        status="failed" if reasons else "passed",
        reason="; ".join(reasons),
        agreement=agreement,
        largest_difference=difference if np.isfinite(difference) else float(np.finfo("f4").max),
    )

"""Run every artifact in every installed runtime and say where it is right, refused or wrong."""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline import files, schema
from hemline.card import Score
from hemline.errors import GateError, HemlineError, JobError
from hemline.evaluation_set import SPLITS, EvaluationSplit, load_split
from hemline.job import Job, JobCell, JobResult
from hemline.manifest import (
    MANIFEST_NAME,
    Artifact,
    Manifest,
    Status,
    Verdict,
    require_artifacts,
)
from hemline.provenance import commit, utc_now, versions
from hemline.record import (
    Accuracy,
    Cell,
    Conditions,
    Record,
    merge_into,
    pack_predictions,
)
from hemline.runtime.backends import BACKENDS, Backend, installed, version_of
from hemline.runtime.host import host_facts
from hemline.runtime.process import JobPool, JobProcess
from hemline.stamp import read_stamped

log = logging.getLogger(__name__)

RECORDS_NAME = "records.jsonl"

# A cell without fast kernels would take minutes for all images: it is judged on the first ones of
# each split, and every table says so.
SLOW_NS = 1_000_000
SLOW_IMAGES = 1000
_TRIAL = JobCell(warmup=3, invocations=9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One artifact in one runtime: its verdict, and the accuracy records behind it."""

    artifact: str
    verdict: Verdict
    records: tuple[Record, ...]


def verify_bundle(
    bundle: Path, manifest: Manifest, *, say: Callable[[str], None] = log.info
) -> Manifest:
    """Bring the verdicts up to date, write them into the manifest and return it.

    Verdicts on unchanged inputs are kept. Raises GateError (after writing) when an artifact is not
    right inside its claim, HemlineError when no runtime is installed.
    """
    require_artifacts(bundle, manifest)
    splits = {name: load_split(bundle, name, manifest.evaluation_sha256) for name in SPLITS}
    pairs = _pairs(manifest.artifacts)
    recorded = (bundle / RECORDS_NAME).exists()
    todo = [pair for pair in pairs if not recorded or _current(manifest, *pair) is None]
    outcomes: list[Outcome] = []
    if todo:
        with (
            tempfile.TemporaryDirectory(prefix="hemline-") as arrays,
            JobPool() as processes,
            ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool,
        ):
            work = [
                pool.submit(_judge, processes, bundle, manifest, *pair, splits, Path(arrays))
                for pair in _slowest_first(todo)
            ]
            try:
                for future in work:
                    outcome = future.result()
                    say(_line(outcome))
                    outcomes.append(outcome)
            finally:
                pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the others
        names = [artifact.name for artifact in manifest.artifacts]
        runtimes = list(BACKENDS)
        outcomes.sort(key=lambda o: (names.index(o.artifact), runtimes.index(o.verdict.runtime)))
        records = [record for outcome in outcomes for record in outcome.records]
        records += [_keras_record(manifest, split) for split in splits.values()]
        merge_into(bundle / RECORDS_NAME, records)
        manifest = _with_verdicts(manifest, outcomes)
        schema.save(bundle / MANIFEST_NAME, manifest)
    require_claims(bundle, manifest)
    return manifest


def require_claims(bundle: Path, manifest: Manifest) -> None:
    """Raise GateError naming every artifact that is not right in a runtime that it claims."""
    broken = []
    for artifact in manifest.artifacts:
        claims = read_stamped(bundle / artifact.name).stamp.claims
        for verdict in artifact.verdicts:
            claimed = any(claim.admits(verdict.runtime, verdict.version) for claim in claims)
            if claimed and verdict.status != "right":
                broken.append(
                    f"{artifact.name} in {verdict.runtime} {verdict.version}: {verdict.reason}"
                )
    if broken:
        raise GateError(f"not right where it claims to be: {'; '.join(broken)}")


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
        status="wrong" if reasons else "right",
        reason="; ".join(reasons),
        agreement=agreement,
        largest_difference=difference if np.isfinite(difference) else float(np.finfo("f4").max),
    )


def _pairs(artifacts: Iterable[Artifact]) -> list[tuple[Artifact, Backend]]:
    here = [backend for backend in BACKENDS.values() if installed(backend)]
    pairs = []
    for artifact in artifacts:
        fitting = [backend for backend in here if backend.format == artifact.format]
        if not fitting:
            raise HemlineError(
                f"no runtime for {artifact.name} is installed: pip install 'hemline[all]'"
            )
        pairs += [(artifact, backend) for backend in fitting]
    return pairs


def _inputs(manifest: Manifest, artifact: Artifact, backend: Backend) -> str:
    return files.fingerprint(
        {
            "artifact": artifact.sha256,
            "evaluation": manifest.evaluation_sha256,
            "bounds": [artifact.tolerance, artifact.minimum_agreement],
            "slow": [SLOW_NS, SLOW_IMAGES],
            "runtime": [backend.name, version_of(backend), np.__version__],
        }
    )


def _current(manifest: Manifest, artifact: Artifact, backend: Backend) -> Verdict | None:
    wanted = _inputs(manifest, artifact, backend)
    return next((v for v in artifact.verdicts if v.inputs_sha256 == wanted), None)


def _slowest_first(pairs: list[tuple[Artifact, Backend]]) -> list[tuple[Artifact, Backend]]:
    """Order work so that the last pieces are short: the least preferred runtime is the slowest."""
    order = list(BACKENDS)
    return sorted(pairs, key=lambda pair: order.index(pair[1].name), reverse=True)


def _judge(
    processes: JobPool,
    bundle: Path,
    manifest: Manifest,
    artifact: Artifact,
    backend: Backend,
    splits: dict[str, EvaluationSplit],
    arrays: Path,
) -> Outcome:
    empty = Verdict(
        runtime=backend.name,
        version=version_of(backend),
        status="refused",
        reason="",
        scores=(),
        agreement=0,
        largest_difference=0.0,
        numpy_version=np.__version__,
        inputs_sha256=_inputs(manifest, artifact, backend),
    )
    try:
        with processes.process(backend.name) as process:
            results = _run_splits(process, bundle, artifact, backend, splits, arrays)
    except JobError as error:
        return Outcome(
            artifact=artifact.name,
            verdict=replace(empty, status="wrong", reason=str(error)),
            records=(),
        )
    failure = next((r.failure for r in results.values() if r.failure is not None), None)
    if failure is not None:
        status: Status = "refused" if failure.kind in ("claim", "backend") else "wrong"
        verdict = replace(empty, status=status, reason=failure.message)
        return Outcome(artifact=artifact.name, verdict=verdict, records=())
    logits = {name: np.load(str(result.cells[0].logits)) for name, result in results.items()}
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
    backend: Backend,
    splits: dict[str, EvaluationSplit],
    arrays: Path,
) -> dict[str, JobResult]:
    """Run every split, or its first images only where the runtime is slow with this file."""
    jobs = {name: _job(bundle, artifact, backend, s, arrays) for name, s in splits.items()}
    trial = process.run(replace(jobs["test"], cells=(_TRIAL,), want=("latencies",), count=1))
    if trial.failure is not None:
        return {"test": trial}
    slow = statistics.median(trial.cells[0].latencies_ns) > SLOW_NS
    count = SLOW_IMAGES if slow else None
    return {name: process.run(replace(job, count=count)) for name, job in jobs.items()}


def _job(
    bundle: Path, artifact: Artifact, backend: Backend, split: EvaluationSplit, arrays: Path
) -> Job:
    return Job(
        id=f"{artifact.name}-{backend.name}-{split.name}",
        artifact=str(bundle / artifact.name),
        runtime=backend.name,
        images=str(split.images_path),
        cells=(JobCell(threads=1, batch=1),),
        want=("logits",),
        arrays=str(arrays),
    )


def _record(
    manifest: Manifest,
    artifact: Artifact,
    result: JobResult,
    split: EvaluationSplit,
    logits: npt.NDArray[np.float32],
) -> Record:
    return Record(
        cell=Cell(
            model=manifest.model,
            artifact=artifact.name,
            artifact_sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
            runtime=result.runtime,
            runtime_version=result.runtime_version,
            threads=1,
            batch=1,
            device="local",
        ),
        conditions=Conditions(
            host=result.host,
            delegate=result.cells[0].delegate,
            versions={
                **versions(()),
                "numpy": result.numpy_version,
                "python": result.python_version,
                result.runtime: result.runtime_version,
            },
            commit=commit(),
            date=utc_now(),
        ),
        payload=_accuracy(split, logits),
    )


def _keras_record(manifest: Manifest, split: EvaluationSplit) -> Record:
    """Return the Keras model's answers, from the logits that were written at export."""
    known = versions(("tensorflow", "keras", "numpy"))
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
        ),
        conditions=Conditions(
            host=host_facts(),
            delegate="TensorFlow",
            versions=known,
            commit=commit(),
            date=manifest.created,
        ),
        payload=_accuracy(split, split.logits),
    )


def _accuracy(split: EvaluationSplit, logits: npt.NDArray[np.float32]) -> Accuracy:
    classes, count = logits.argmax(axis=1), len(logits)
    labels, keras = split.labels[:count], split.logits[:count].argmax(axis=1)
    return Accuracy(
        split=split.name,
        images=count,
        correct=int((classes == labels).sum()),
        agreement=int((classes == keras).sum()),
        keras_correct=int((keras == labels).sum()),
        predictions=pack_predictions(classes),
    )


def _with_verdicts(manifest: Manifest, outcomes: list[Outcome]) -> Manifest:
    artifacts = []
    for artifact in manifest.artifacts:
        fresh = [o.verdict for o in outcomes if o.artifact == artifact.name]
        replaced = {(v.runtime, v.version) for v in fresh}
        kept = [v for v in artifact.verdicts if (v.runtime, v.version) not in replaced]
        verdicts = sorted([*kept, *fresh], key=_in_table)
        artifacts.append(replace(artifact, verdicts=tuple(verdicts)))
    return replace(manifest, artifacts=tuple(artifacts))


def _in_table(verdict: Verdict) -> tuple[int, str]:
    order = list(BACKENDS)  # a newer Hemline may have verified in runtimes that are not in it
    return (
        order.index(verdict.runtime) if verdict.runtime in order else len(order),
        verdict.version,
    )


def _line(outcome: Outcome) -> str:
    verdict = outcome.verdict
    where = f"verify {outcome.artifact} in {verdict.runtime} {verdict.version}: {verdict.status}"
    score = verdict.score("test")
    if score is None:
        return f"{where} ({verdict.reason})"
    figures = (
        f"{100 * score.accuracy:.2f} % right, "
        f"{100 * verdict.agreement / score.images:.2f} % agree, "
        f"logits within {verdict.largest_difference:.2g}"
    )
    return f"{where}, {figures}{f' ({verdict.reason})' if verdict.reason else ''}"

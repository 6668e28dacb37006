"""Run every artifact in every installed runtime and say where it is right, refused or wrong."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hemline import schema
from hemline.errors import GateError, HemlineError
from hemline.evaluation_set import SPLITS, load_split
from hemline.export.judging import Outcome, inputs_of, judge_cell, keras_record
from hemline.manifest import (
    MANIFEST_NAME,
    Artifact,
    Manifest,
    Verdict,
    require_artifacts,
)
from hemline.record import RECORDS_NAME, merge_into
from hemline.runtime.backends import BACKENDS, Backend, installed
from hemline.runtime.process import JobPool
from hemline.stamp import read_stamped

log = logging.getLogger(__name__)


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
                pool.submit(judge_cell, processes, bundle, manifest, *pair, splits, Path(arrays))
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
        records += [keras_record(manifest, split) for split in splits.values()]
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


def _pairs(artifacts: Iterable[Artifact]) -> list[tuple[Artifact, Backend]]:
    here = [backend for backend in BACKENDS.values() if installed(backend)]
    pairs = []
    for artifact in artifacts:
        fitting = [backend for backend in here if backend.format == artifact.format]
        if not fitting:
            extras = [b.extra for b in BACKENDS.values() if b.format == artifact.format]
            raise HemlineError(
                f"no runtime for {artifact.name} is installed: pip install 'hemline[{extras[0]}]'"
            )
        pairs += [(artifact, backend) for backend in fitting]
    return pairs


def _current(manifest: Manifest, artifact: Artifact, backend: Backend) -> Verdict | None:
    wanted = inputs_of(manifest, artifact, backend)
    return next((v for v in artifact.verdicts if v.inputs_sha256 == wanted), None)


def _slowest_first(pairs: list[tuple[Artifact, Backend]]) -> list[tuple[Artifact, Backend]]:
    """Order work so that the last pieces are short: the least preferred runtime is the slowest."""
    order = list(BACKENDS)
    return sorted(pairs, key=lambda pair: order.index(pair[1].name), reverse=True)


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

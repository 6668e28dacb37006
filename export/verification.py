"""Verify every artifact in runtimes and versions: where it passed, was refused or failed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hemline.contract import schema
from hemline.contract.evaluation_set import SPLITS, load_conditions, load_split
from hemline.contract.manifest import MANIFEST_NAME, Artifact, Manifest, Verdict, require_artifacts
from hemline.contract.record import RECORDS_NAME, append_records, read_records
from hemline.contract.specs import version_key
from hemline.contract.stamp import read_stamped
from hemline.environments.environment import RuntimeTarget
from hemline.errors import GateError, UsageError, remedy
from hemline.export.cell_verification import (
    CellVerification,
    VerificationCell,
    inputs_of,
    source_record,
)
from hemline.export.verdict_table import title_of
from hemline.folders import TemporaryFolder
from hemline.host import cores
from hemline.progress import tracked
from hemline.runtime.backends import BACKENDS
from hemline.runtime.discovery import none_installed
from hemline.runtime.process import JobPool
from hemline.runtime.targets import installed_targets
from hemline.small_sets import accuracy_text

log = logging.getLogger(__name__)


def verify_bundle(
    bundle: Path,
    manifest: Manifest,
    targets: Sequence[RuntimeTarget] | None = None,
    *,
    say: Callable[[str], None] = log.info,
) -> Manifest:
    """Bring the verdicts of some targets up to date, write them into the manifest and return it.

    Without `targets` those are the installed runtimes. Verdicts on unchanged inputs are kept, those
    of other targets too. Raises GateError (after writing) when an artifact did not pass in a
    runtime that it supports, HemlineError when it has no runtime among the installed ones.
    """
    require_artifacts(bundle, manifest)
    splits = {name: load_split(bundle, name, manifest.evaluation_sha256) for name in SPLITS}
    pairs = _pairs(manifest.artifacts, targets)
    recorded = (bundle / RECORDS_NAME).exists()
    todo = [pair for pair in pairs if not recorded or _current(manifest, *pair) is None]
    if todo:
        with TemporaryFolder() as arrays:
            cells = [
                VerificationCell(
                    bundle=bundle,
                    manifest=manifest,
                    artifact=artifact,
                    target=target,
                    splits=splits,
                    arrays=Path(arrays),
                )
                for artifact, target in _slowest_first(todo)
            ]
            verified = _verify_all(cells, say)
        conditions = load_conditions(bundle, manifest.evaluation_sha256)
        records = [record for each in verified for record in each.records]
        if (source := manifest.source) is not None:
            known = read_records(bundle / RECORDS_NAME) if recorded else ()
            references = [source_record(manifest, source, s, conditions) for s in splits.values()]
            records += [record for record in references if record not in known]
        append_records(bundle / RECORDS_NAME, records)
        manifest = _with_verdicts(manifest, verified)
        schema.save(bundle / MANIFEST_NAME, manifest)
    require_supported_pass(bundle, manifest)
    return manifest


def _verify_all(
    cells: Sequence[VerificationCell], say: Callable[[str], None]
) -> list[CellVerification]:
    """Verify cells side by side, one a core; return them in the order of the manifest."""
    verified = []
    with JobPool() as processes, ThreadPoolExecutor(max_workers=cores()) as pool:
        futures = [pool.submit(cell.verify, processes) for cell in cells]
        try:
            for future in tracked(futures, len(futures), "verifying"):
                each = future.result()
                say(_line(each, cells[0].manifest))
                verified.append(each)
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the others
    names = [artifact.name for artifact in cells[0].manifest.artifacts]
    return sorted(verified, key=lambda v: (names.index(v.artifact), _in_table(v.verdict)))


def require_supported_pass(bundle: Path, manifest: Manifest) -> None:
    """Raise GateError naming every artifact that fails in a runtime that it supports."""
    broken = []
    for artifact in manifest.artifacts:
        supported = read_stamped(bundle / artifact.name).stamp.supported_runtimes
        for verdict in artifact.verdicts:
            must_pass = any(each.admits(verdict.runtime, verdict.version) for each in supported)
            if must_pass and verdict.status != "passed":
                broken.append(f"{artifact.name} in {title_of(verdict)}: {verdict.reason}")
    if broken:
        raise GateError(f"failed in a supported runtime: {'; '.join(broken)}")


def _pairs(
    artifacts: Iterable[Artifact], targets: Sequence[RuntimeTarget] | None
) -> list[tuple[Artifact, RuntimeTarget]]:
    here = installed_targets() if targets is None else targets
    pairs = []
    for artifact in artifacts:
        fitting = [t for t in here if BACKENDS[t.runtime].format == artifact.format]
        if not fitting and targets is None:
            raise none_installed(artifact.format)
        pairs += [(artifact, target) for target in fitting]
    if not pairs:
        names = ", ".join(target.name for target in here)
        raise UsageError(
            f"no artifact is of the format that {names} opens", remedy=remedy("other runtime")
        )
    return pairs


def _current(manifest: Manifest, artifact: Artifact, target: RuntimeTarget) -> Verdict | None:
    wanted = inputs_of(manifest, artifact, target)
    return next((v for v in artifact.verdicts if v.inputs_sha256 == wanted), None)


def _slowest_first(
    pairs: list[tuple[Artifact, RuntimeTarget]],
) -> list[tuple[Artifact, RuntimeTarget]]:
    """Order work so that the last pieces are short: the least preferred runtime is the slowest."""
    order = list(BACKENDS)
    place = {target: (order.index(target.runtime), target.name) for _, target in pairs}
    return sorted(pairs, key=lambda pair: place[pair[1]], reverse=True)


def _with_verdicts(manifest: Manifest, verified: list[CellVerification]) -> Manifest:
    artifacts = []
    for artifact in manifest.artifacts:
        fresh = [each.verdict for each in verified if each.artifact == artifact.name]
        replaced = {_place(v) for v in fresh}
        # one without a Python is an older Hemline's: any newer one of that version replaces it
        replaced |= {(v.runtime, v.version, "") for v in fresh}
        kept = [v for v in artifact.verdicts if _place(v) not in replaced]
        verdicts = sorted([*kept, *fresh], key=_in_table)
        artifacts.append(replace(artifact, verdicts=tuple(verdicts)))
    return replace(manifest, artifacts=tuple(artifacts))


def _place(verdict: Verdict) -> tuple[str, str, str]:
    return (verdict.runtime, verdict.version, verdict.python_version)


def _in_table(verdict: Verdict) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    order = list(BACKENDS)  # a newer Hemline may have verified in runtimes that are not in it
    at = order.index(verdict.runtime) if verdict.runtime in order else len(order)
    return (at, version_key(verdict.version), version_key(verdict.python_version))


def _line(verified: CellVerification, manifest: Manifest) -> str:
    verdict = verified.verdict
    where = f"verify {verified.artifact} in {title_of(verdict)}"
    if verdict.images == 0:
        return f"{where}: {verdict.status} ({verdict.reason})"
    score = verdict.score("test")
    figures = (
        *(() if score is None else (f"accuracy {accuracy_text(score.correct, score.images)}",)),
        f"agreement {100 * verdict.agreement / verdict.images:.2f} %",
        f"logits within {verdict.largest_difference:.2g}",
    )
    match = f"matches the {'Keras' if manifest.source == 'keras' else 'source'} model"
    status = match if verdict.status == "passed" else verdict.status
    reason = f" ({verdict.reason})" if verdict.reason else ""
    return f"{where}: {status}; {', '.join(figures)}{reason}"

"""The bundle of a single stamped file, in a folder beside it: measured like any other bundle.

There is no model that the file was exported from. The reference of its verdicts is the first
runtime that it supports here, as when it was admitted; both splits are the same images, because
nothing is chosen by accuracy among the runtimes of one file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from hemline import files
from hemline.compression import compressed_size
from hemline.contract import schema
from hemline.contract.conditions import conditions_of
from hemline.contract.evaluation_set import SPLITS, save_conditions, save_split
from hemline.contract.job import Job, JobResult
from hemline.contract.manifest import (
    FILE_BUNDLE_ENDING,
    MANIFEST_NAME,
    Artifact,
    Manifest,
    read_manifest,
)
from hemline.contract.stamp import Stamp, read_stamped
from hemline.environments.environment import RuntimeTarget
from hemline.errors import JobError, UsageError, remedy
from hemline.export.admission.trial import between_runtimes
from hemline.export.admission.user_samples import SampleFiles, Samples, read_samples
from hemline.export.verification import verify_bundle
from hemline.folders import TemporaryFolder
from hemline.pictures.generated import generated_images
from hemline.pictures.npy import write_npy
from hemline.provenance import commit, utc_now, versions
from hemline.runtime.job import ERRORS
from hemline.runtime.process import JobProcess
from hemline.runtime.targets import first_supported, installed_targets

log = logging.getLogger(__name__)

GENERATED = "generated images"
_SECONDS = 3600.0  # for all images, however many


def folder_of(path: Path) -> Path:
    """Return the folder of a bundle, or that of a file's bundle."""
    return path if path.is_dir() else path.with_name(f"{path.name}{FILE_BUNDLE_ENDING}")


def read_file_bundle(path: Path) -> Manifest:
    """Return the manifest of a file's bundle; raises UsageError where the file has none yet."""
    stamp = read_stamped(path).stamp
    manifest = _current(path)
    if manifest is None:
        raise UsageError(
            f"{path} ({stamp.model}) is not measured", remedy=remedy("bench", bundle=path)
        )
    return manifest


def update_file_bundle(
    path: Path,
    named: SampleFiles | None = None,
    targets: Sequence[RuntimeTarget] | None = None,
    *,
    say: Callable[[str], None] = log.info,
) -> Manifest:
    """Bring the bundle of a stamped file up to date, verify it in `targets`, return its manifest.

    Unless images are `named` it keeps those that it has; a new one has generated images, which have
    no labels. Raises UsageError for a file that is in a bundle, UnstampedError or FileFormatError
    for one that is not admitted, GateError when it fails in a runtime that it supports.
    """
    stamp = read_stamped(path).stamp
    _require_alone(path)
    manifest, samples = _current(path), None if named is None else read_samples(named, stamp)
    if manifest is None or (samples is not None and manifest.data_sha256 != samples.sha256):
        manifest = _make(path, stamp, samples or _generated(stamp), say)
    return verify_bundle(folder_of(path), manifest, targets, say=say)


def _require_alone(path: Path) -> None:
    folder = path.parent
    if not (folder / MANIFEST_NAME).exists():
        return
    if path.name in {artifact.name for artifact in read_manifest(folder).artifacts}:
        raise UsageError(
            f"{path} is in the bundle {folder}, which has its records: use {folder} instead, or a "
            "copy of the file elsewhere"
        )


def _current(path: Path) -> Manifest | None:
    """Return the manifest of a file's bundle; None where there is none, or of an older file."""
    folder = folder_of(path)
    if not (folder / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(folder)
    return manifest if manifest.artifacts[0].sha256 == files.sha256_of(path) else None


def _generated(stamp: Stamp) -> Samples:
    return Samples(name=GENERATED, images=generated_images(stamp.input.shape))


def _make(path: Path, stamp: Stamp, samples: Samples, say: Callable[[str], None]) -> Manifest:
    folder = folder_of(path)
    files.write_bytes(folder / path.name, files.read_bytes(path))
    manifest = Manifest(
        model=stamp.model,
        source=None,
        parameters=None,
        macs=None,
        labels=stamp.labels,
        dataset=samples.name,
        data_sha256=samples.sha256,
        parent_sha256=stamp.parent_sha256,
        validation_indices=(),
        evaluation_sha256=_write_evaluation(folder, path, stamp, samples, say),
        keras_scores=(),
        artifacts=(_artifact(path, stamp),),
        recommended=None,
        recommended_because="",
        versions=versions(("numpy",)),
        commit=commit(),
        created=utc_now(),
    )
    schema.save(folder / MANIFEST_NAME, manifest)
    return manifest


def _write_evaluation(
    folder: Path, path: Path, stamp: Stamp, samples: Samples, say: Callable[[str], None]
) -> dict[str, str]:
    """Write the images with the logits of the first runtime; return the hashes of the files."""
    target = first_supported(installed_targets(), stamp)
    say(f"logits of {target.name} on {len(samples.images):,} {samples.name}")
    with TemporaryFolder() as arrays:
        write_npy(Path(arrays) / "images.npy", samples.images)
        result = _run(path, target, Path(arrays))
        logits = result.logits()
    hashes: dict[str, str] = {}
    for name in SPLITS:
        hashes |= save_split(
            folder, name, images=samples.images, labels=samples.labels, logits=logits
        )
    return hashes | save_conditions(folder, conditions_of(result))


def _run(path: Path, target: RuntimeTarget, folder: Path) -> JobResult:
    job = Job(
        id="reference",
        artifact=str(path),
        runtime=target.runtime,
        images=str(folder / "images.npy"),
        arrays=str(folder),
    )
    with JobProcess(target.command) as process:
        result = process.run(job, timeout_seconds=_SECONDS)
    if result.failure is not None:
        message = f"{path} in {target.name}: {result.failure.message}"
        raise ERRORS.get(result.failure.kind, JobError)(message)
    return result


def _artifact(path: Path, stamp: Stamp) -> Artifact:
    digest = files.sha256_of(path)
    return Artifact(
        name=path.name,
        scheme=stamp.scheme,
        format=stamp.format,
        sha256=digest,
        size_bytes=path.stat().st_size,
        compressed_bytes=compressed_size(path.read_bytes()),
        input=stamp.input,
        outputs=stamp.outputs,
        calibration_sha256=stamp.calibration_sha256,
        recipe_sha256=digest,
        tolerance=stamp.tolerance,
        minimum_agreement=between_runtimes(eight_bit=True).agreement,
    )

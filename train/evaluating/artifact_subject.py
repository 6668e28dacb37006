"""An artifact, run by jobs in child processes, as everything that runs artifacts does."""

from __future__ import annotations

import io
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.contract.evaluation_set import SPLITS, load_split
from hemline.contract.job import FailureKind, Job, JobCell
from hemline.contract.manifest import MANIFEST_NAME, Manifest, read_manifest
from hemline.contract.specs import LOGITS
from hemline.contract.stamp import Stamp, read_stamped
from hemline.data.datasets import DATASETS, Images
from hemline.environments.environment import RuntimeTarget
from hemline.errors import (
    BackendError,
    DataError,
    FileFormatError,
    HemlineError,
    JobError,
    UnsupportedRuntimeError,
    UsageError,
)
from hemline.files import sha256_of, write_bytes
from hemline.folders import TemporaryFolder
from hemline.host import host_facts
from hemline.runtime.backends import BACKENDS
from hemline.runtime.discovery import none_installed
from hemline.runtime.process import JobPool
from hemline.runtime.targets import find_targets, installed_targets
from hemline.train.evaluating.images import DataSource, SplitImages, counted
from hemline.train.evaluating.result import Origin

_PART = 2500  # images: fewer are not worth a process more, which takes 0.2 s to start
_ERRORS: dict[FailureKind, type[HemlineError]] = {
    "unsupported": UnsupportedRuntimeError,
    "backend": BackendError,
    "file": FileFormatError,
    "data": DataError,
    "crash": JobError,
}


class ArtifactSubject:
    """A stamped file, alone or in a bundle, with the runtime that is to run it."""

    def __init__(self, path: Path, runtime: str | None) -> None:
        """Check the file and find its runtime: `runtime`, else the first here that it supports."""
        self.name, self.path = str(path), path
        self._stamp = read_stamped(path).stamp
        self._sha256 = sha256_of(path)
        self._manifest = _manifest_beside(path, self._sha256)
        self._target = _target(self._stamp, runtime)
        self.labels, self.temperature = self._stamp.labels, self._stamp.temperature
        self.shape = self._stamp.input.shape

    def open(self) -> None:
        """Do nothing: a job opens the file."""

    def split(self, name: str, data: DataSource) -> SplitImages:
        """Return a split of the bundle, or test images of a data set for a file alone.

        Where --data names other data than the bundle was made from, its test images with a note.
        """
        known = self._manifest
        if known is not None and data.options.folder is None:
            return self._split_of_bundle(known, name)
        images = data.load(
            self._dataset(data) if known is None else known.dataset, self.shape, self.labels
        )
        if known is not None and images.sha256 == known.data_sha256:
            return self._split_of_bundle(known, name)
        if name != "test":
            raise UsageError(
                f"which images of {images.source} were kept apart for validation is not known to "
                f"{self.name}: use --split test"
            )
        return self._test_split(images)

    def logits(self, split: SplitImages) -> npt.NDArray[np.float32]:
        """Return float32 logits (n, classes); raises HemlineError with what the runtime said."""
        with TemporaryFolder() as folder:
            images = split.path or _saved(split, Path(folder))
            parts = max(1, min(host_facts().cores, len(split.labels) // _PART))
            bounds = np.linspace(0, len(split.labels), parts + 1).astype(int).tolist()
            jobs = [
                self._job(images, first, last - first, folder)
                for first, last in itertools.pairwise(bounds)
            ]
            with JobPool() as processes, ThreadPoolExecutor(parts) as pool:
                return np.concatenate(list(pool.map(lambda job: self._run(processes, job), jobs)))

    def origin(self) -> Origin:
        """Return what it is, and what ran it."""
        known = self._manifest
        return Origin(
            name=self.name,
            kind="artifact",
            model=self._stamp.model,
            sha256=self._sha256,
            parameters=None if known is None else known.parameters,
            macs=None if known is None else known.macs,
            size_bytes=self.path.stat().st_size,
            runtime=self._target.runtime,
            runtime_version=self._target.version,
            members=(),
            layers=(),
        )

    def _split_of_bundle(self, manifest: Manifest, name: str) -> SplitImages:
        parts = {
            each: load_split(self.path.parent, each, manifest.evaluation_sha256) for each in SPLITS
        }
        chosen, known = parts[name], DATASETS.get(manifest.dataset)
        return SplitImages(
            name=name,
            dataset=manifest.dataset,
            title=known.title if known else manifest.dataset,
            source=str(chosen.images_path.parent),
            pixels=np.asarray(chosen.images),
            labels=chosen.labels,
            path=chosen.images_path,
            keras_logits=chosen.logits,
            counts={each: counted(part.labels, len(self.labels)) for each, part in parts.items()},
        )

    def _test_split(self, images: Images) -> SplitImages:
        if images.dataset.labels != self.labels or images.test_images.shape[1:] != self.shape:
            raise DataError(
                f"{images.source} has {len(images.dataset.labels)} classes and images of "
                f"{images.test_images.shape[1:]}, {self.name} knows {len(self.labels)} and takes "
                f"{self.shape}, or the classes have other names: name other data with --data"
            )
        note = f"{self.name} was made from other files than those in {images.source}"
        return SplitImages(
            name="test",
            dataset=images.dataset.name,
            title=images.dataset.title,
            source=images.source,
            pixels=images.test_images,
            labels=images.test_labels,
            counts={"test": counted(images.test_labels, len(self.labels))},
            notes=() if self._manifest is None else (note,),
        )

    def _dataset(self, data: DataSource) -> str:
        fitting = [each.name for each in DATASETS.values() if each.labels == self.labels]
        if fitting or data.options.folder is not None:
            return (fitting or ["own data"])[0]
        raise UsageError(
            f"{self.name} lies in no bundle, and no data set that Hemline can fetch has its "
            "classes: name a folder or an .npz file with --data"
        )

    def _job(self, images: Path, first: int, count: int, arrays: str) -> Job:
        return Job(
            id=f"from-{first}",
            artifact=str(self.path),
            runtime=self._target.runtime,
            images=str(images),
            first=first,
            count=count,
            cells=(JobCell(threads=1, batch=1),),  # as verification runs it: the same figures
            want=("outputs",),
            arrays=arrays,
        )

    def _run(self, processes: JobPool, job: Job) -> npt.NDArray[np.float32]:
        with processes.process(self._target) as process:
            result = process.run(job)
        if result.failure is not None:
            raise _ERRORS[result.failure.kind](
                f"{self.name} in {self._target.name}: {result.failure.message}"
            )
        logits: npt.NDArray[np.float32] = np.load(result.cells[0].outputs[LOGITS])
        return logits


def _manifest_beside(path: Path, sha256: str) -> Manifest | None:
    """Return the manifest of the bundle that a file belongs to; None for a file alone."""
    if not (path.parent / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(path.parent)
    own = [artifact for artifact in manifest.artifacts if artifact.name == path.name]
    if own and own[0].sha256 != sha256:
        raise FileFormatError(
            f"{path} is not the file that {MANIFEST_NAME} describes: run `hemline export` again"
        )
    return manifest if own else None


def _target(stamp: Stamp, runtime: str | None) -> RuntimeTarget:
    here = installed_targets() if runtime is None else find_targets((runtime,))
    if runtime is not None and len(here) != 1:
        raise UsageError(f"--runtime {runtime} names {len(here)} runtimes: evaluate needs one")
    fitting = [each for each in here if BACKENDS[each.runtime].format == stamp.format]
    if not fitting:
        if runtime is not None:
            raise UnsupportedRuntimeError(
                f"{stamp.name} is a .{stamp.format} file: {runtime} cannot open it"
            )
        raise none_installed(stamp.format)
    supported = [each for each in fitting if stamp.supports(each.runtime, each.version)]
    if not supported:
        stamp.require_supported(fitting[0].runtime, fitting[0].version)
    return supported[0]


def _saved(split: SplitImages, folder: Path) -> Path:
    path = folder / "images.npy"
    packed = io.BytesIO()  # numpy does not say why when it cannot write into a file
    np.save(packed, np.ascontiguousarray(split.pixels))
    write_bytes(path, packed.getvalue())
    return path

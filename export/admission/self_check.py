"""Check a stamped file with its own test images, in each installed runtime, each confined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hemline.contract.job import Job, JobResult
from hemline.contract.parity import check_vectors
from hemline.contract.specs import Status
from hemline.contract.stamp import Stamp, read_stamped
from hemline.errors import FileFormatError, JobError
from hemline.export.admission.confined import COMMAND
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import Backend
from hemline.runtime.discovery import discover, none_installed
from hemline.runtime.process import JobProcess

_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict:
    """What a stamped file did in one runtime.

    artifact: path of the file, as the user gave it.
    runtime: name in the BACKENDS table.
    version: of the runtime's package; empty where it is not known.
    status: passed, refused (not opened, or an unsupported runtime) or failed.
    supported: whether the file supports this runtime.
    reason: one line; empty when it passed.
    """

    artifact: str
    runtime: str
    version: str
    status: Status
    supported: bool
    reason: str

    @property
    def text(self) -> str:
        """Return one line on it."""
        where = f"{self.artifact} in {self.runtime} {self.version}".rstrip()
        return f"{where}: {self.status}{f' ({self.reason})' if self.reason else ''}"


def check_file(path: Path) -> tuple[FileVerdict, ...]:
    """Run a stamped file's test images in every installed runtime of its format.

    Raises FileFormatError for a file that is unstamped, altered or without test images,
    BackendError when no runtime is installed.
    """
    stamp = read_stamped(path).stamp
    here = [found.backend for found in discover(stamp.format)]
    if not here:
        raise none_installed(stamp.format)
    if not stamp.test_vectors:
        raise FileFormatError(f"{path} contains no test images: export it again")
    with TemporaryFolder() as folder:
        images = np.stack([vector.image(stamp.input.shape) for vector in stamp.test_vectors])
        np.save(Path(folder) / "images.npy", images)
        return tuple(_check_in(backend, path, stamp, Path(folder)) for backend in here)


def _check_in(backend: Backend, path: Path, stamp: Stamp, folder: Path) -> FileVerdict:
    job = Job(
        id="check",
        artifact=str(path),
        runtime=backend.name,
        images=str(folder / "images.npy"),
        arrays=str(folder),
    )
    version = ""
    try:
        with JobProcess((*COMMAND, "jobs")) as process:
            result = process.run(job, timeout_seconds=_SECONDS)
        version = result.runtime_version
        status, reason = _status_of(result, stamp)
    except JobError as error:
        status, reason = "failed", str(error)
    return FileVerdict(
        artifact=str(path),
        runtime=backend.name,
        version=version,
        status=status,
        # a process that died names no version: then any supported version counts
        supported=any(
            each.admits(backend.name, version or each.minimum) for each in stamp.supported_runtimes
        ),
        reason=reason,
    )


def _status_of(result: JobResult, stamp: Stamp) -> tuple[Status, str]:
    if result.failure is not None:
        return result.failure.status, result.failure.message
    parity = check_vectors(result.logits(), stamp)
    return ("passed" if parity.passed else "failed"), parity.reason

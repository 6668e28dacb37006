"""Find the settings that were tuned for an artifact on this kind of processor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hemline.contract.manifest import FILE_BUNDLE_ENDING, read_manifest
from hemline.contract.settings import TunedSettings
from hemline.errors import BackendError, FileFormatError, SchemaError
from hemline.files import sha256_of
from hemline.host import host_facts
from hemline.runtime.backends import Backend, version_of
from hemline.runtime.process_settings import set_up_process

log = logging.getLogger(__name__)
C = TypeVar("C")


def open_tuned(
    artifact: Path, backend: Backend, open_with: Callable[[TunedSettings | None], C]
) -> tuple[C, str]:
    """Open an artifact with its tuned settings, or with the defaults where it has none for here.

    Returns why the defaults are used too, or "". Tuned settings are in the manifest.json beside the
    artifact, or in the bundle that bench made of it: in its stamp they would change its hash.
    """
    problem = f"it was not tuned for {host_facts().processor_kind} in {backend.name} "
    try:
        problem += version_of(backend)
        tuned = _find(artifact, backend)
        if tuned is not None:
            set_up_process(tuned.settings)
            return open_with(tuned), ""
    except (BackendError, FileFormatError, SchemaError) as error:
        problem = str(error)
    problem = f"{artifact} is opened with default settings: {problem}"
    log.warning(problem)
    return open_with(None), problem


def _find(artifact: Path, backend: Backend) -> TunedSettings | None:
    digest, host = sha256_of(artifact), host_facts()
    ran_in = (backend.name, version_of(backend))
    own = artifact.with_name(f"{artifact.name}{FILE_BUNDLE_ENDING}")
    for tuned in read_manifest(own if own.is_dir() else artifact.parent).tuned:
        here = tuned.artifact_sha256 == digest and tuned.processor == host.processor_kind
        if here and (tuned.runtime, tuned.version) == ran_in and tuned.threads <= host.cores:
            return tuned
    return None

"""Which artifact of a bundle to open, and in which backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hemline.contract.stamp import Stamp, read_stamped
from hemline.errors import UnsupportedRuntimeError, remedy
from hemline.runtime.backends import Backend, find_backend, version_of
from hemline.runtime.discovery import FoundRuntime, working

if TYPE_CHECKING:
    from hemline.contract.manifest import Artifact, Manifest


def pick_backend(stamp: Stamp, runtime: str | None) -> Backend:
    """Return the backend to open a stamped file in.

    Raises UnsupportedRuntimeError for a runtime that the file does not support, BackendError when
    none works.
    """
    if runtime is not None:
        backend = find_backend(runtime)
        if backend.format != stamp.format:
            raise UnsupportedRuntimeError(
                f"{stamp.name} is a .{stamp.format} file: {runtime} cannot open it"
            )
        stamp.require_supported(backend.name, version_of(backend))
        return backend
    unsupported = []
    for found in working(stamp.format, in_process=True):
        if stamp.supports(found.name, found.version):
            return found.backend
        unsupported.append(found)
    stamp.require_supported(unsupported[0].name, unsupported[0].version)
    return unsupported[0].backend


def pick_artifact(bundle: Path, runtime: str | None) -> tuple[Path, Backend]:
    """Return the artifact of a bundle to open here, and the backend to open it in.

    That is the one that its manifest recommends, unless it supports no runtime that is here or
    failed in it; else the smallest that passed in this version of a runtime here.

    Raises BackendError or UnsupportedRuntimeError when there is none.
    """
    from hemline.contract.manifest import (
        read_manifest,  # here, because a device may have single files only
    )

    manifest = read_manifest(bundle)
    named = None if runtime is None else find_backend(runtime)
    here = (
        list(working(in_process=True))
        if named is None
        else [FoundRuntime(named, version_of(named))]
    )
    if found := _recommended(bundle, manifest, here):
        return found
    proven = [
        (artifact.size_bytes, order, artifact.name, backend)
        for artifact in manifest.artifacts
        for order, (backend, version, _) in enumerate(here)
        if artifact.status_in(backend.name, version) == "passed"
        # it may have passed in an unsupported runtime too, where it is not opened
        and read_stamped(bundle / artifact.name).stamp.supports(backend.name, version)
    ]
    if not proven:
        names = " or ".join(f"{found.name} {found.version}" for found in here)
        raise UnsupportedRuntimeError(
            f"no artifact of {bundle} passed in {names}",
            remedy=remedy("verify elsewhere", bundle=bundle),
        )
    _, _, name, backend = min(proven, key=lambda row: row[:3])
    return bundle / name, backend


def _recommended(
    bundle: Path, manifest: Manifest, here: list[FoundRuntime]
) -> tuple[Path, Backend] | None:
    named = [a for a in manifest.artifacts if a.name == manifest.recommended]
    fitting = [found for found in here if named and found.backend.format == named[0].format]
    if not fitting:
        return None
    artifact: Artifact = named[0]
    stamp = read_stamped(bundle / artifact.name).stamp
    for backend, version, _ in fitting:
        seen = artifact.status_in(backend.name, version)
        if seen in (None, "passed") and stamp.supports(backend.name, version):
            return bundle / artifact.name, backend
    return None

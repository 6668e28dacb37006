"""Which artifact of a bundle to open, and in which backend."""

from __future__ import annotations

from pathlib import Path

from hemline.contract.manifest import Manifest, read_manifest
from hemline.contract.stamp import read_stamped
from hemline.errors import UnsupportedRuntimeError, remedy
from hemline.runtime.backends import Backend, find_backend, version_of
from hemline.runtime.discovery import FoundRuntime, working


def pick_artifact(bundle: Path, runtime: str | None) -> tuple[Path, Backend]:
    """Return the artifact of a bundle to open here, and the backend to open it in.

    That is the one that its manifest recommends, unless it supports no runtime that is here or
    failed in it; else the smallest that passed in this version of a runtime here.

    Raises BackendError or UnsupportedRuntimeError when there is none.
    """
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
    choice = manifest.recommendation()
    named = [a for a in manifest.artifacts if choice and a.name == choice.artifact]
    fitting = [found for found in here if named and found.backend.format == named[0].format]
    if not fitting:
        return None
    artifact = named[0]
    stamp = read_stamped(bundle / artifact.name).stamp
    for backend, version, _ in fitting:
        seen = artifact.status_in(backend.name, version)
        if seen in (None, "passed") and stamp.supports(backend.name, version):
            return bundle / artifact.name, backend
    return None

"""Which artifact of a bundle to open, and in which backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.contract.specs import Format
from hemline.contract.stamp import Stamp, read_stamped
from hemline.errors import BackendError, UnsupportedRuntimeError
from hemline.runtime.backends import (
    BACKENDS,
    Backend,
    find_backend,
    installed,
    require_working,
    version_of,
)

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
    passed = []
    for backend, version in _working(stamp.name, stamp.format):
        if stamp.supports(backend.name, version):
            return backend
        passed.append((backend, version))
    backend, version = passed[0]
    stamp.require_supported(backend.name, version)
    return backend


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
    here = list(_working(str(bundle))) if named is None else [(named, version_of(named))]
    if found := _recommended(bundle, manifest, here):
        return found
    proven = [
        (artifact.size_bytes, order, artifact.name, backend)
        for artifact in manifest.artifacts
        for order, (backend, version) in enumerate(here)
        if artifact.status_in(backend.name, version) == "passed"
        # it may have passed in an unsupported runtime too, where it is not opened
        and read_stamped(bundle / artifact.name).stamp.supports(backend.name, version)
    ]
    if not proven:
        names = " or ".join(f"{backend.name} {version}" for backend, version in here)
        raise UnsupportedRuntimeError(
            f"no artifact of {bundle} passed in {names}: "
            f"run `hemline verify {bundle}` where that is installed, or name an artifact"
        )
    _, _, name, backend = min(proven, key=lambda row: row[:3])
    return bundle / name, backend


def _recommended(
    bundle: Path, manifest: Manifest, here: list[tuple[Backend, str]]
) -> tuple[Path, Backend] | None:
    named = [a for a in manifest.artifacts if a.name == manifest.recommended]
    fitting = [pair for pair in here if named and pair[0].format == named[0].format]
    if not fitting:
        return None
    artifact: Artifact = named[0]
    stamp = read_stamped(bundle / artifact.name).stamp
    for backend, version in fitting:
        seen = artifact.status_in(backend.name, version)
        if seen in (None, "passed") and stamp.supports(backend.name, version):
            return bundle / artifact.name, backend
    return None


def _working(name: str, file_format: Format | None = None) -> Iterator[tuple[Backend, str]]:
    """Yield the backends that work here with their versions, each tried when it is asked for.

    Raises BackendError at the end when there was none: why those that are installed do not work.
    """
    fitting = [b for b in BACKENDS.values() if file_format in (None, b.format)]
    reasons, found = [], False
    for backend in filter(installed, fitting):
        try:
            require_working(backend)
            version = version_of(backend)
        except BackendError as error:
            reasons.append(str(error))
            continue
        found = True
        yield backend, version
    if found:
        return
    if reasons:
        raise BackendError("; ".join(reasons))
    raise _none_installed(name, fitting)


def _none_installed(name: str, fitting: list[Backend]) -> BackendError:
    extras = " or ".join(f"'hemline[{backend.extra}]'" for backend in fitting)
    return BackendError(f"no runtime for {name} is installed: pip install {extras}")

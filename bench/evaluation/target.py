"""What is evaluated: a file and the runtime that runs it, whatever kind of file it is."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hemline.bench.evaluation.result import Origin
from hemline.contract.card import Card, ModelCard
from hemline.contract.checkpoint import MODEL_NAME, is_checkpoint, read_card
from hemline.contract.manifest import MANIFEST_NAME, Manifest, read_manifest
from hemline.contract.model_summary import Layer
from hemline.contract.stamp import Stamp, read_stamped
from hemline.environments.environment import Requirement, RuntimeTarget
from hemline.errors import FileFormatError, UnsupportedRuntimeError, UsageError, remedy
from hemline.files import sha256_of
from hemline.provenance import versions
from hemline.runtime.backends import BACKENDS
from hemline.runtime.bundle_choice import pick_artifact
from hemline.runtime.process import local_command
from hemline.runtime.targets import find_targets, first_supported, installed_targets

_KERAS = "keras"  # name of its runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTarget:
    """An artifact or a checkpoint, and the runtime that runs it.

    path: as the user wrote it; of a bundle, that of the artifact to ship.
    model: name of the model.
    spec: its labels, input and temperature.
    sha256: of the file.
    runtime: where jobs run it.
    card: of a checkpoint; None for an artifact.
    manifest: of the bundle that it is in; None for everything else.
    """

    path: Path
    model: str
    spec: ModelCard | Stamp
    sha256: str
    runtime: RuntimeTarget
    card: Card | None = None
    manifest: Manifest | None = None

    @property
    def name(self) -> str:
        """Return the path as text."""
        return str(self.path)

    def origin(self, layers: tuple[Layer, ...]) -> Origin:
        """Return what it is, and what runs it."""
        known = self.manifest if self.card is None else self.card.model
        file = self.path if self.card is None else self.path / self.card.model.file
        return Origin(
            name=self.name,
            kind="artifact" if self.card is None else "checkpoint",
            model=self.model,
            sha256=self.sha256,
            parameters=None if known is None else known.parameters,
            macs=None if known is None else known.macs,
            size_bytes=file.stat().st_size,
            runtime=self.runtime.runtime,
            runtime_version=self.runtime.version,
            layers=layers,
        )


def find_target(path: Path, runtime: str | None) -> EvaluationTarget:
    """Return the checkpoint or artifact at `path`; of a bundle, the artifact to ship.

    `runtime` is for artifacts; without it the first here that the file supports is used. Raises
    FileFormatError for what is neither, or was altered; BackendError or UnsupportedRuntimeError
    for an artifact that no runtime here, or not `runtime`, may open.
    """
    if path.name == MODEL_NAME and is_checkpoint(path.parent):
        path = path.parent
    if path.is_dir() and not (path / MANIFEST_NAME).exists():
        model = read_card(path).model
        if model.source == "keras":
            return _checkpoint(path)
        path = path / model.file  # an artifact in itself
    if path.suffix == ".keras":
        raise FileFormatError(f"{path} has no card next to it: name the folder of a checkpoint")
    if path.is_dir():
        named = None if runtime is None else Requirement.parse(runtime).runtime
        path = pick_artifact(path, named)[0]
    return _artifact(path, runtime)


def _checkpoint(folder: Path) -> EvaluationTarget:
    card = read_card(folder)
    return EvaluationTarget(
        path=folder,
        model=card.model.name,
        spec=card.model,
        sha256=card.model.sha256,
        card=card,
        runtime=RuntimeTarget(
            runtime=_KERAS,
            version=versions((_KERAS,)).get(_KERAS, ""),
            python_version=platform.python_version(),
            numpy_version=np.__version__,
            command=local_command(),
        ),
    )


def _artifact(path: Path, runtime: str | None) -> EvaluationTarget:
    stamp, sha256 = read_stamped(path).stamp, sha256_of(path)
    return EvaluationTarget(
        path=path,
        model=stamp.model,
        spec=stamp,
        sha256=sha256,
        manifest=_manifest_beside(path, sha256),
        runtime=_runtime(stamp, runtime),
    )


def _manifest_beside(path: Path, sha256: str) -> Manifest | None:
    """Return the manifest of the bundle that a file belongs to; None for a file alone."""
    if not (path.parent / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(path.parent)
    own = [artifact for artifact in manifest.artifacts if artifact.name == path.name]
    if own and own[0].sha256 != sha256:
        raise FileFormatError(
            f"{path} is not the file that {MANIFEST_NAME} describes", remedy=remedy("export again")
        )
    return manifest if own else None


def _runtime(stamp: Stamp, runtime: str | None) -> RuntimeTarget:
    here = installed_targets() if runtime is None else find_targets((runtime,))
    if runtime is not None and len(here) != 1:
        raise UsageError(f"{runtime!r} names {len(here)} runtimes, but an evaluation needs one")
    fitting = [each for each in here if BACKENDS[each.runtime].format == stamp.format]
    if not fitting and runtime is not None:
        raise UnsupportedRuntimeError(
            f"{stamp.name} is a .{stamp.format} file: {runtime} cannot open it"
        )
    return first_supported(fitting, stamp)

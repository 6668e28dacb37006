"""What can be evaluated: each kind knows its images and how it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hemline.contract.manifest import MANIFEST_NAME
from hemline.errors import FileFormatError
from hemline.train.checkpoint import MODEL_NAME, is_checkpoint, read_card
from hemline.train.evaluating.images import DataSource, SplitImages
from hemline.train.evaluating.result import Origin


class Subject(Protocol):
    """A checkpoint or an artifact.

    name: path as the user wrote it.
    labels: class names in the order of the logits.
    shape: (height, width, channels) of its input.
    temperature: divides the logits before softmax.
    """

    name: str
    labels: tuple[str, ...]
    shape: tuple[int, int, int]
    temperature: float

    def split(self, name: str, data: DataSource) -> SplitImages:
        """Return the images of one split; raises DataError when they are not to be had."""

    def open(self) -> None:
        """Load what is needed to run it, so that what cannot be run is known before the work."""

    def logits(self, split: SplitImages) -> npt.NDArray[np.float32]:
        """Return float32 logits (n, classes); raises HemlineError when it cannot be run."""

    def origin(self) -> Origin:
        """Return what it is, and what ran it."""


def find_subject(path: Path, runtime: str | None) -> Subject:
    """Return the checkpoint or artifact at `path`; of a bundle, the artifact to ship.

    Raises FileFormatError for what is neither, or was altered; BackendError or
    UnsupportedRuntimeError for an artifact that no runtime here, or not `runtime`, may open.
    """
    if path.name == MODEL_NAME and is_checkpoint(path.parent):
        path = path.parent
    if path.is_dir() and not (path / MANIFEST_NAME).exists():
        from hemline.train.evaluating.checkpoint_subject import CheckpointSubject

        return CheckpointSubject(path, read_card(path))
    if path.suffix == ".keras":
        raise FileFormatError(
            f"{path} has no card beside it: name the folder of a checkpoint, as train writes it"
        )
    from hemline.train.evaluating.artifact_subject import ArtifactSubject

    return ArtifactSubject(_in_bundle(path, runtime), runtime)


def _in_bundle(path: Path, runtime: str | None) -> Path:
    if not path.is_dir():
        return path
    from hemline.environments.environment import Requirement
    from hemline.runtime.choosing import pick_artifact

    named = None if runtime is None else Requirement.parse(runtime).runtime
    return pick_artifact(path, named)[0]

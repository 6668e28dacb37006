"""What a user wants to export: a preset, a checkpoint, or the file of a model."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hemline.contract.checkpoint import is_checkpoint
from hemline.contract.manifest import MANIFEST_NAME
from hemline.errors import UnknownNameError, UsageError
from hemline.train.nets.models import MODELS

Kind = Literal["preset", "checkpoint", "file"]
_CHECKPOINTS = Path("checkpoints")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTarget:
    """What to export.

    kind: a preset of the MODELS table, the folder of a checkpoint, or a model made elsewhere.
    name: of the preset; else of the folder or file.
    path: of the checkpoint or the file; None for a preset.
    """

    kind: Kind
    name: str
    path: Path | None = None


def find_export_target(model: str) -> ExportTarget:
    """Return what a name or path stands for; an existing path wins.

    Raises UsageError, with the nearest name, for what is neither.
    """
    path = Path(model)
    if path.exists():
        return _at(path)
    if model in MODELS:
        return ExportTarget(kind="preset", name=model)
    if is_checkpoint(_CHECKPOINTS / model):
        return ExportTarget(kind="checkpoint", name=model, path=_CHECKPOINTS / model)
    if path.suffix or path.parent != Path():
        raise UsageError(_no_file(path))
    here = _CHECKPOINTS.iterdir() if _CHECKPOINTS.is_dir() else ()
    raise UnknownNameError("model", model, {*MODELS, *(p.name for p in here if is_checkpoint(p))})


def _at(path: Path) -> ExportTarget:
    if (path / MANIFEST_NAME).is_file():
        raise UsageError(f"{path} is an exported bundle: name a checkpoint or a model")
    kind: Kind = "checkpoint" if is_checkpoint(path) else "file"
    return ExportTarget(kind=kind, name=path.resolve().name, path=path)


def _no_file(path: Path) -> str:
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.6)
    hint = f": did you mean {str(path.parent / near[0])!r}?" if near else ""
    return f"{path} does not exist{hint}"

"""The bundle or checkpoint that a command uses when none is named: the only one here."""

from __future__ import annotations

from pathlib import Path

from hemline.contract.checkpoint import is_checkpoint
from hemline.contract.manifest import FILE_BUNDLE_ENDING, MANIFEST_NAME
from hemline.errors import Remedy, UsageError, remedy

BUNDLES, CHECKPOINTS = Path("artifacts"), Path("checkpoints")


def only_bundle() -> Path:
    """Return the bundle in artifacts/; raises UsageError, listing them, unless there is one."""
    found = sorted(path.parent for path in BUNDLES.glob(f"*/{MANIFEST_NAME}"))
    bundles = [each for each in found if each.suffix != FILE_BUNDLE_ENDING]
    return _only(bundles, f"bundle in {BUNDLES}", remedy("name or export"))


def only_checkpoint() -> Path:
    """Return the checkpoint in checkpoints/; raises UsageError, listing them, unless it is one."""
    return _only(checkpoints(), f"checkpoint in {CHECKPOINTS}", remedy("name or train"))


def checkpoints() -> list[Path]:
    """Return the folders of the finished checkpoints in checkpoints/, sorted."""
    return sorted(each for each in CHECKPOINTS.glob("*") if is_checkpoint(each))


def _only(found: list[Path], what: str, otherwise: Remedy) -> Path:
    if not found:
        raise UsageError(f"there is no {what}", remedy=otherwise)
    if len(found) > 1:
        raise UsageError(f"more than one {what}, name one of: {', '.join(map(str, found))}")
    return found[0]

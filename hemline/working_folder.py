"""What a command uses where nothing is named: the only bundle of the working folder."""

from __future__ import annotations

from pathlib import Path

from hemline.contract.manifest import FILE_BUNDLE_ENDING, MANIFEST_NAME
from hemline.errors import Remedy, UsageError, remedy

BUNDLES = Path("artifacts")


def only_bundle() -> Path:
    """Return the bundle in artifacts/; raises UsageError, listing them, unless there is one."""
    found = sorted(path.parent for path in BUNDLES.glob(f"*/{MANIFEST_NAME}"))
    bundles = [each for each in found if each.suffix != FILE_BUNDLE_ENDING]
    return only_one(bundles, f"bundle in {BUNDLES}", remedy("name or export"))


def only_one(found: list[Path], what: str, otherwise: Remedy) -> Path:
    """Return the only path; raises UsageError, with a remedy where there is none."""
    if not found:
        raise UsageError(f"there is no {what}", remedy=otherwise)
    if len(found) > 1:
        raise UsageError(f"more than one {what}, name one of: {', '.join(map(str, found))}")
    return found[0]

"""Parse class names that a user gives: a file, or a text with commas."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path

from hemline.errors import FileFormatError, UsageError
from hemline.files import reason_of

log = logging.getLogger(__name__)


def parse_labels(labels: str) -> tuple[str, ...]:
    """Return class names: from a file with one a line or all in one line, or from the text itself.

    Repeated names are told apart by a number. Raises UsageError for an empty name, FileFormatError
    for a file that is not text.
    """
    where, text = "the list of labels", labels
    # Path.exists raises for a text that is too long for a name
    if "," not in labels or os.path.exists(labels):  # noqa: PTH110
        where, text = labels, _text(Path(labels))
    lines = text.strip().splitlines()
    names = [name.strip() for name in (lines[0].split(",") if len(lines) == 1 else lines)]
    if "" in names:
        raise UsageError(f"{where}: name {names.index('') + 1} is empty")
    if len(names) < 2:
        raise UsageError(f"{where} names one class: one name a line, or with commas between them")
    return distinct_labels(tuple(names))


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not text in UTF-8: one class name a line") from error
    if not text.strip():
        raise UsageError(f"{path} names no class: one class name a line")
    return text


def distinct_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names that differ; a repeated one gets its number: crane, crane (2).

    ImageNet has two cranes. Warns of the first.
    """
    counts: Counter[str] = Counter()
    names = []
    for label in labels:
        counts[label] += 1
        names.append(label if counts[label] == 1 else f"{label} ({counts[label]})")
    if repeated := [label for label, count in counts.items() if count > 1]:
        log.warning("the label %r is repeated: the classes are told apart by a number", repeated[0])
    return tuple(names)

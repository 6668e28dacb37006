"""Parse class names that a user gives: a file in one of the usual forms, or a text with commas."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hemline.errors import FileFormatError, UsageError
from hemline.files import reason_of

log = logging.getLogger(__name__)

_NUMBERED = re.compile(r"(\d+)[\s:,;]+(\S.*)")  # as Teachable Machine writes them
_NAME_COLUMNS = ("name", "label", "class", "class_name", "label_name", "labels", "classes")
_NUMBER_COLUMNS = ("index", "id", "number", "class_id", "label_id", "class_index", "idx")


def parse_labels(labels: str) -> tuple[str, ...]:
    """Return class names: from a file, or from a text with commas between them.

    A file has one name a line, or all in one line; numbered lines ("0 cat"), a CSV table with a
    header, a JSON list, or a JSON object of numbers and names, whose numbers give the order.
    Repeated names are told apart by a number. Raises UsageError for an empty name and for numbers
    that are not 0, 1, 2 …, FileFormatError for a file that is not text.
    """
    where, text = "the list of labels", labels
    # Path.exists raises for a text that is too long for a name
    if "," not in labels or os.path.exists(labels):  # noqa: PTH110
        where, text = labels, _text(Path(labels))
    names = _names(text.strip(), where)
    if "" in names:
        raise UsageError(f"{where}: name {names.index('') + 1} is empty")
    if len(names) < 2:
        raise UsageError(
            f"{where} contains only one class: write one name per line, or separate "
            "names with commas"
        )
    return distinct_labels(tuple(names))


def unknown_among(labels: Iterable[str]) -> Iterator[str]:
    """Return a line where a class has the name of images that are of no class."""
    if "unknown" in labels:
        yield "a class is called unknown, as images of no class are: `known` tells them apart"


def labels_of(labels: Sequence[str] | Path | str) -> tuple[str, ...]:
    """Return class names given as names, as a file of them, or as a text with commas.

    Raises UsageError and FileFormatError.
    """
    if isinstance(labels, str | Path):
        return parse_labels(str(labels))
    names = tuple(labels)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise UsageError(f"labels are names, not {wrong[0]!r}")
    return names


def _names(text: str, where: str) -> list[str]:
    if text.startswith(("[", "{")):
        return _from_json(text, where)
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) == 1:
        return [name.strip() for name in lines[0].split(",")]
    if (table := _from_table(lines, where)) is not None:
        return table
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if numbered[0] is None or numbered[0][1] != "0":
        if all(numbered):
            raise UsageError(f"{where}: line 1 ({lines[0]!r}) does not have the number 0")
        return lines
    pairs = []
    for at, match in enumerate(numbered, start=1):
        if match is None:
            raise UsageError(
                f"{where}: line {at} ({lines[at - 1]!r}) has no number, but line 1 has one"
            )
        pairs.append((f"line {at}", match[1], match[2]))
    return _ordered(pairs, where)


def _from_json(text: str, where: str) -> list[str]:
    """Return the names of a JSON list, or of an object {"0": "cat"} or {"cat": 0}."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{where} looks like JSON but cannot be read: {error}") from error
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return [name.strip() for name in found]
    if isinstance(found, dict) and all(isinstance(name, str) for name in found.values()):
        return _ordered([(repr(key), key, name) for key, name in found.items()], where)
    if isinstance(found, dict) and all(type(number) is int for number in found.values()):
        return _ordered([(repr(name), str(at), name) for name, at in found.items()], where)
    raise UsageError(
        f"{where}: JSON labels must be a list of names, or an object of numbers and names"
    )


def _from_table(lines: list[str], where: str) -> list[str] | None:
    """Return the names of a CSV table, None without a header that names a column of names."""
    header = [title.strip().lower() for title in lines[0].split(",")]
    name = next((header.index(title) for title in _NAME_COLUMNS if title in header), None)
    if len(header) < 2 or name is None:
        return None
    rows = list(csv.reader(lines[1:]))
    for at, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UsageError(f"{where}: line {at} has {len(row)} columns, the header {len(header)}")
    number = next((header.index(title) for title in _NUMBER_COLUMNS if title in header), None)
    if number is None:
        return [row[name].strip() for row in rows]
    return _ordered(
        ((f"line {at}", row[number], row[name]) for at, row in enumerate(rows, start=2)), where
    )


def _ordered(pairs: Iterable[tuple[str, str, str]], where: str) -> list[str]:
    """Return names in the order of their numbers; a pair is (its place, number, name)."""
    found: dict[int, str] = {}
    for place, number, name in pairs:
        if not number.strip().isdecimal():
            raise UsageError(f"{where}: {place} has {number!r} instead of a number")
        if int(number) in found:
            raise UsageError(f"{where}: {place} repeats the number {int(number)}")
        found[int(number)] = name.strip()
    if missing := [at for at in range(len(found)) if at not in found]:
        raise UsageError(
            f"{where} numbers {len(found)} names up to {max(found)}: {missing[0]} is missing"
        )
    return [found[at] for at in range(len(found))]


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not UTF-8 text: write one class name per line") from error
    if not text.strip():
        raise UsageError(f"{path} is empty: write one class name per line")
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
        log.warning("the label %r is repeated: a number is added to each", repeated[0])
    return tuple(names)

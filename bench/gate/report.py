"""What a gate says: a table, JUnit XML for CI systems, Markdown for a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

from hemline.bench.gate.decision import UNKNOWN, Check
from hemline.bench.gate.gating import summary
from hemline.tables import Table, as_markdown

_UNITS = {"slowdown": "×", "accuracy": "points", "size": "kB", "memory": "MB"}
_DIGITS = {"slowdown": 3, "accuracy": 2, "size": 1, "memory": 1}
_MARKS = {"passed": "✅", "failed": "❌", UNKNOWN: "❔"}
_NOT_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def gate_table(checks: Sequence[Check]) -> Table:
    """Return one row for each check."""
    return Table.of(
        ("check", "cell", ">measured", ">99 % interval", ">limit", "answer", "remark"),
        (
            (
                "accuracy change" if check.kind == "accuracy" else check.kind,
                check.cell,
                _figure(check, check.value, unit=True),
                ""
                if check.low is None
                else f"{_figure(check, check.low)} … {_figure(check, check.high)}",
                f"{check.limit:g} {_UNITS[check.kind]}",
                check.answer,
                check.reason,
            )
            for check in map(_as_shown, checks)
        ),
    )


def _as_shown(check: Check) -> Check:
    """Return a check as tables show it: points lost are a change of accuracy below 0."""
    if check.kind != "accuracy":
        return check
    value, low, high = (None if x is None else 0 - x for x in (check.value, check.high, check.low))
    return replace(check, value=value, low=low, high=high, limit=0 - check.limit)


def gate_markdown(checks: Sequence[Check], names: tuple[str, str]) -> str:
    """Return a section for a pull request; `names` are the baseline and what was checked."""
    table = gate_table(checks)
    rows = (
        (
            *row[:5],
            f"{_MARKS[check.answer]} {row[5]}",
            row[6],
        )
        for check, row in zip(checks, table.rows, strict=True)
    )
    marked = Table(columns=table.columns, numeric=table.numeric, rows=tuple(rows))
    before, after = names
    title = f"### hemline gate: {summary(checks)}"
    return f"{title}\n\n`{after}` against `{before}`\n\n{as_markdown(marked)}\n"


def gate_junit(checks: Sequence[Check]) -> bytes:
    """Return JUnit XML: one test case a check; without an answer it counts as skipped."""
    count = {answer: sum(check.answer == answer for check in checks) for answer in _MARKS}
    suite = ElementTree.Element(
        "testsuite",
        name="hemline gate",
        tests=str(len(checks)),
        failures=str(count["failed"]),
        skipped=str(count[UNKNOWN]),
        errors="0",
    )
    for check, row in zip(checks, gate_table(checks).rows, strict=True):
        name = _NOT_XML.sub("?", check.cell)
        case = ElementTree.SubElement(suite, "testcase", classname=check.kind, name=name)
        if check.answer != "passed":
            tag = "failure" if check.answer == "failed" else "skipped"
            message = _NOT_XML.sub(
                "?", ", ".join(filter(None, (*row[2:4], f"limit {row[4]}", row[6])))
            )
            ElementTree.SubElement(case, tag, message=message)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def _figure(check: Check, value: float | None, *, unit: bool = False) -> str:
    if value is None:
        return ""
    sign = "+" if check.kind == "accuracy" else ""
    text = f"{value:{sign}.{_DIGITS[check.kind]}f}"
    return f"{text} {_UNITS[check.kind]}" if unit else text

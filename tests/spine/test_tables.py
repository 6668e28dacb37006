"""Tables: columns that are empty, and numbers for programs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import click
from click.testing import CliRunner

from hemline.exporting import Export, export_options
from hemline.tables import (
    CHANGE,
    Table,
    as_csv,
    as_json,
    as_markdown,
    as_text,
    change,
    count,
    microseconds,
    percent,
    signed,
)

TABLE = Table.of(
    ("name", "?model", ">median", ">accuracy", "?>drop"),
    (
        ("a, b", "", microseconds(16.25), percent(0.93), signed(-0.001)),
        ("c", "", microseconds(None), "93.0 % – 94.0 %", ""),
    ),
)


def test_an_optional_column_is_left_out_where_it_is_empty() -> None:
    assert TABLE.columns == ("name", "median", "accuracy", "drop")
    assert TABLE.numeric == (False, True, True, True)
    assert as_text(TABLE).splitlines()[2] == "a, b   16 µs          93.00 %  +0.00"


def test_exports_have_numbers_in_full_and_units_in_the_header() -> None:
    """A column in which one cell is no number has texts in all."""
    header, first, second = csv.reader(io.StringIO(as_csv(TABLE)))
    assert header == ["name", "median (µs)", "accuracy", "drop (points)"]
    assert first == ["a, b", "16.25", "93.00 %", "-0.001"]
    assert second == ["c", "", "93.0 % – 94.0 %", ""]
    rows = json.loads(as_json(TABLE))
    assert rows[0]["median (µs)"] == 16.25
    assert rows[1]["median (µs)"] is None
    assert json.loads(as_json(Table.of(("a",), ()))) == []
    lost = Table.of((f">{CHANGE}",), [(change(0.5),), (change(0.0),)])
    assert as_csv(lost) == "accuracy change (points)\n-0.5\n0.0\n", "the unit is named once"
    assert json.loads(as_json(Table.of((">n",), [(count(1234),)]))) == [{"n": 1234}]


def test_every_table_of_a_command_is_written_in_each_form_that_is_named(tmp_path: Path) -> None:
    @click.command()
    @export_options
    def show(export: Export) -> None:
        export(TABLE, more=Table.of(("b",), [("1",)]))

    words = []
    for form, suffix in (("csv", "csv"), ("markdown", "md"), ("json", "json")):
        words += [f"--export-{form}", str(tmp_path / f"table.{suffix}")]
    assert CliRunner().invoke(show, words, catch_exceptions=False).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"table{part}.{suffix}" for part in ("-more", "") for suffix in ("csv", "json", "md")
    ]
    assert (tmp_path / "table-more.md").read_text() == "| b |\n| --- |\n| 1 |\n"
    assert CliRunner().invoke(show, [], catch_exceptions=False).exit_code == 0


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    table = Table(columns=("class", "n"), numeric=(False, True), rows=(("a|b", "3"), ("", "4")))
    assert as_markdown(table).splitlines()[2:] == [r"| a\|b | 3 |", "| – | 4 |"]

"""Labels in the forms that people have are read in the file's own numbering, or refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from hemline.data.class_names import parse_labels, unknown_among
from hemline.errors import UsageError


@pytest.mark.parametrize(
    "text",
    [
        "ant\nbee\ncat\n",
        "0 ant\n1 bee\n2 cat\n",
        "0 ant\n2 cat\n1 bee\n",
        "0: ant\n1: bee\n2: cat",
        "0,ant\n1,bee\n2,cat\n",
        '["ant", "bee", "cat"]',
        '{"2": "cat", "0": "ant", "1": "bee"}',
        '{"cat": 2, "ant": 0, "bee": 1}',
        "index,name\n1,bee\n0,ant\n2,cat\n",
        "label,count\nant,5\nbee,6\ncat,7\n",
    ],
)
def test_every_usual_form_gives_the_same_labels(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(text)
    assert parse_labels(str(tmp_path / "labels.txt")) == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 ant\n2 bee\n", r"line 1 \('1 ant'\) does not have the number 0"),
        ("0 ant\n1 bee\ncat\n", r"line 3 \('cat'\) has no number"),
        ("0 ant\n1 bee\n1 cat\n", "line 3 repeats the number 1"),
        ("0 ant\n1 bee\n3 cat\n", "3 names up to 3: 2 is missing"),
        ('{"0": "ant", "2": "bee"}', "2 names up to 2: 1 is missing"),
        ('{"first": "ant", "1": "bee"}', "'first' has 'first' instead of a number"),
        ('{"ant": 0, "bee": 0}', "'bee' repeats the number 0"),
        ("[1, 2]", "JSON labels must be a list of names"),
        ('["ant", ', "looks like JSON but cannot be read"),
        ("index,name\n0,ant\n1\n", "line 3 has 1 columns, the header 2"),
        ("index,name\n0,ant\nx,bee\n", "line 3 has 'x' instead of a number"),
    ],
)
def test_numbers_that_give_no_order_are_refused_by_line(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(UsageError, match=message):
        parse_labels(str(tmp_path / "labels.txt"))


def test_names_that_begin_with_a_number_are_names(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("2 wheels\n4 wheels\nno wheels\n")
    assert parse_labels(str(tmp_path / "labels.txt"))[0] == "2 wheels"
    (tmp_path / "labels.txt").write_text("0\n1\n2\n")
    assert parse_labels(str(tmp_path / "labels.txt")) == ("0", "1", "2")


def test_a_repeated_label_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert parse_labels("crane,dog,crane") == ("crane", "dog", "crane (2)")
    assert "the label 'crane' is repeated" in caplog.text


def test_a_class_called_unknown_is_told() -> None:
    (line,) = unknown_among(("ant", "unknown"))
    assert "`known` tells them apart" in line
    assert not [*unknown_among(("ant", "Unknown"))]

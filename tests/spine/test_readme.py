"""What the README says is so: its commands exist, its code runs, its tables are measured."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click
import pytest
from documents import ROOT, python_blocks
from write_tables import update

from hemline.cli import COMMANDS, cli
from hemline.errors import GateError, UsageError

TEXT = (ROOT / "README.md").read_text()


def test_the_python_of_the_readme_runs(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(bundle, tmp_path / "artifacts" / "hem-50k")
    monkeypatch.chdir(tmp_path)
    (code,) = python_blocks(TEXT)
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102 — the README's own code
    assert len(names["predictions"]) == 2  # type: ignore[arg-type]
    assert capsys.readouterr().out


def test_the_tables_are_those_of_the_results() -> None:
    update(ROOT, check=True)


def test_a_changed_table_is_noticed_and_mended(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "results", tmp_path / "results")
    (tmp_path / "README.md").write_text(TEXT.replace("int8.tflite | ", "int8.tflite | 1", 1))
    with pytest.raises(GateError, match="differs from results/"):
        update(tmp_path, check=True)
    update(tmp_path, check=False)
    assert (tmp_path / "README.md").read_text() == TEXT


def test_outside_a_checkout_the_readme_command_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="in a checkout of Hemline"):
        update(tmp_path, check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    for each in commands:
        assert each.help
        for parameter in each.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)


def test_the_readme_links_every_page() -> None:
    """Each command has its place in a page: tests/spine/test_docs.py."""
    linked = set(re.findall(r"\(docs/([\w-]+)\.md\)", TEXT))
    assert linked == {page.stem for page in (ROOT / "docs").glob("*.md")}

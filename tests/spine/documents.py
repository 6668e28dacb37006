"""Take the commands and the Python out of a Markdown page, and parse them as they would be."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import click

from hemline.cli import cli
from hemline.runtime.command_line import parser_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# commands of hemline that the runtime's own parser reads, and what it calls them
HANDED_OVER = {"classify": "classify", "selftest": "selftest"}
COMPLETION = re.compile(r"_HEMLINE_COMPLETE=(?P<shell>\w+)_source hemline")
# Lines that another program reads, none of which is run here.
OTHER_PROGRAMS = (
    r"\. \.venv/bin/activate$",
    r"autoload -Uz compinit && compinit$",
    r"ssh-copy-id \S+@\S+$",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A line of a page's shell block: what is typed, where its output goes, and how it ends."""

    page: Path
    line: str
    file: str | None
    exit_code: int

    def __str__(self) -> str:
        """Return the name of its tests."""
        return f"{self.page.stem}: {self.line}"

    @property
    def words(self) -> list[str]:
        """Return the words behind the program's name."""
        return shlex.split(self.line)[1:]


def commands_of(page: Path) -> list[Command]:
    """Return the commands in the ```sh blocks of a page, in order."""
    return [
        _command(page, line)
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.splitlines()
        if line.strip()
    ]


def _command(page: Path, line: str) -> Command:
    """Read `line > file  # exit code N`; without a code the command succeeds."""
    code = re.search(r"# exit code (\d)\s*$", line)
    typed = line.split("#")[0]
    whole, _, file = ("", "", "") if COMPLETION.search(typed) else typed.partition(" > ")
    return Command(
        page=page,
        line=(whole or typed).strip(),
        file=file.strip() or None,
        exit_code=int(code[1]) if code else 0,
    )


def device_commands(page: Path) -> list[list[str]]:
    """Return the words behind `hemline-runtime.pyz` on the lines of ```text blocks."""
    blocks = re.findall(r"```text\n(.*?)```", page.read_text(), re.DOTALL)
    lines = re.findall(r"python3? hemline-runtime\.pyz ([^#\n]*)", "\n".join(blocks))
    return [shlex.split(line) for line in lines]


def python_blocks(text: str) -> list[str]:
    """Return the ```python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def runtime_parser(name: str) -> argparse.ArgumentParser:
    """Return the runtime's parser of one of its commands."""
    return parser_of(name, "hemline")


def require_understood(command: Command) -> None:
    """Parse a line as its program would, without running it; files need not exist."""
    if command.line.startswith("make "):
        _require_target(command.words)
    elif command.line.startswith("hemline "):
        _require_parsed(command.words)
    elif not COMPLETION.search(command.line):
        known = any(re.match(program, command.line) for program in OTHER_PROGRAMS)
        assert known, f"nothing here knows the program of: {command}"


def _require_parsed(words: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli)
    while words and words[0] in ("-q", "-v", "--quiet", "--verbose"):
        words.pop(0)
    while isinstance(command, click.Group):
        if words in (["--help"], ["--version"]):
            return
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    handed_over = HANDED_OVER.get(str(command.name))
    if handed_over is not None:
        runtime_parser(handed_over).parse_args(words)
        return
    with click.Context(command) as parsing:
        _, arguments, _ = command.make_parser(parsing).parse_args(list(words))
        assert arguments == []


def _require_target(words: list[str]) -> None:
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

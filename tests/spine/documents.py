"""Take the commands and the Python out of a Markdown page, and ask whether they are understood."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from pathlib import Path

import click

from hemline.cli import cli
from hemline.runtime.command_line import parser_of

ROOT = Path(__file__).resolve().parents[2]
# commands of hemline that the runtime's own parser reads, and what it calls them
HANDED_OVER = {"classify": "classify", "inspect": "info", "selftest": "selftest"}


def shell_lines(text: str) -> list[str]:
    """Return the commands in the ```sh blocks of a page, without their comments."""
    return [
        line.split("#")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.strip()
    ]


def python_blocks(text: str) -> list[str]:
    """Return the ```python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def redirected(line: str) -> tuple[str, str | None]:
    """Return a command without `> FILE`, and the file."""
    command, _, file = line.split("#")[0].partition(" > ")
    return command.strip(), file.strip() or None


def runtime_parser(name: str) -> argparse.ArgumentParser:
    """Return the runtime's parser of one of its commands."""
    return parser_of(name, "hemline")


def require_understood(line: str) -> None:
    """Parse a `hemline …` line as click would, without running it; files need not exist."""
    words = shlex.split(redirected(line)[0])[1:]
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


def require_target(line: str) -> None:
    """Ask make whether it knows how to do a `make …` line."""
    done = subprocess.run(
        ["make", "--dry-run", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

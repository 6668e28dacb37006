"""Groups of commands whose help shows each whole summary, and errors that fit that help."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

_LONGEST = 200  # characters: a summary is a sentence


class CommandGroup(click.Group):
    """A group whose help cuts off no summary."""

    def sections(self, ctx: click.Context) -> Mapping[str, Mapping[str, str]]:
        """Return heading to the name and the summary of each command below it."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: each for name, each in commands.items() if each and not each.hidden}
        return {"Commands": {n: each.get_short_help_str(_LONGEST) for n, each in shown.items()}}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its whole summary, by section."""
        sections = self.sections(ctx)
        width = max(len(name) for rows in sections.values() for name in rows)
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows.items()])


def error_text(error: click.ClickException) -> str:
    """Return an error's message; for wrong usage, with the command whose help shows what is right.

    Options that the help does not show are not suggested.
    """
    if not isinstance(error, click.UsageError):
        return error.format_message()
    context = error.ctx
    if isinstance(error, click.NoSuchOption) and context is not None:
        records = (each.get_help_record(context) for each in context.command.get_params(context))
        shown = {name for record in records if record for name in re.split(r"[\s,/]+", record[0])}
        near = [each for each in error.possibilities or () if each in shown]
        error = click.NoSuchOption(error.option_name, possibilities=near, ctx=context)
    command = "hemline" if context is None else context.command_path
    text = re.sub("valid float( range)?", "number", error.format_message())
    text = re.sub("valid integer( range)?", "whole number", text)
    return f"{text} (see {command} --help)"

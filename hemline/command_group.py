"""A group of commands whose list says all that each command is for."""

from __future__ import annotations

import click

_LONGEST = 200  # characters: a summary is a sentence


class CommandGroup(click.Group):
    """A group whose help cuts off no summary."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its whole summary."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, each.get_short_help_str(_LONGEST)) for name, each in commands if each]
            )

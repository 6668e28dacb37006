"""`hemline classify` and `selftest`: they hand their arguments to the runtime."""

from __future__ import annotations

import click

from hemline.console import quiet
from hemline.runtime.command_line import COMMANDS, main


class _Raw(click.Command):
    """A command that leaves its arguments as they are, -- too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments for the callback."""
        ctx.args = args
        return args


def _handed_over(name: str, to: str) -> click.Command:
    """Return a command that gives all its arguments, --help too, to the runtime's own parser."""

    @click.command(
        name,
        cls=_Raw,
        help=f"{COMMANDS[to][1][0].upper()}{COMMANDS[to][1][1:]}.",
        add_help_option=False,
    )
    @click.pass_context
    def command(context: click.Context) -> None:
        code = main([to, *(["-q"] if quiet() else []), *context.args], program="hemline")
        if code:
            raise click.exceptions.Exit(code)

    return command


classify = _handed_over("classify", "classify")
selftest = _handed_over("selftest", "selftest")

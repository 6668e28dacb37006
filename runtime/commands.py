"""`hemline classify`, `inspect` and `selftest`: they hand their arguments to the runtime."""

from __future__ import annotations

import click

from hemline.runtime.command_line import COMMANDS, main


def _handed_over(name: str, to: str) -> click.Command:
    """Return a command that gives all its arguments, --help too, to the runtime's own parser."""

    @click.command(
        name,
        help=f"{COMMANDS[to][1][0].upper()}{COMMANDS[to][1][1:]}.",
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        add_help_option=False,
    )
    @click.argument("arguments", nargs=-1, type=click.Path(readable=False))
    def command(arguments: tuple[str, ...]) -> None:
        code = main([to, *arguments], program="hemline")
        if code:
            raise click.exceptions.Exit(code)

    return command


classify = _handed_over("classify", "classify")
inspect = _handed_over("inspect", "info")
selftest = _handed_over("selftest", "selftest")

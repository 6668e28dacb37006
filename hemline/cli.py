"""The command line: one group whose commands are imported when they are called."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings

import click

from hemline.errors import HemlineError, UnknownNameError
from hemline.files import reason_of
from hemline.remedies import described
from hemline.version import VERSION

# name: module that defines it. No module here imports TensorFlow or a backend at its top.
COMMANDS: dict[str, str] = {
    "data": "hemline.data.commands",
    "train": "hemline.train.commands",
    "recipe": "hemline.train.commands",
    "tune": "hemline.train.tuning.commands",
    "baseline": "hemline.train.baselines.commands",
    "evaluate": "hemline.train.evaluating.commands",
    "compare-datasets": "hemline.train.comparison.commands",
    "export": "hemline.export.commands",
    "verify": "hemline.export.commands",
    "runtimes": "hemline.environments.commands",
    "inspect": "hemline.runtime.commands",
    "classify": "hemline.runtime.commands",
    "selftest": "hemline.runtime.commands",
    "bench": "hemline.bench.commands",
    "table": "hemline.bench.commands",
    "compare": "hemline.bench.commands",
    "choose": "hemline.bench.commands",
    "device": "hemline.bench.devices.commands",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the work."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; an unknown name gets the nearest one as a hint."""
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:
                return None  # a shell completes a line with a mistake in it: nothing to say there
            raise click.UsageError(str(UnknownNameError("command", cmd_name, COMMANDS)), ctx)
        module = importlib.import_module(COMMANDS[cmd_name])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="hemline")
@click.option("-v", "--verbose", is_flag=True, help="Tell what is tried and what is skipped.")
@click.option("-q", "--quiet", is_flag=True, help="Show results and errors only.")
@click.pass_context
def cli(ctx: click.Context, verbose: bool, quiet: bool) -> None:
    """From labelled images to a small, verified, measured file for an edge device."""
    ctx.obj = {"quiet": quiet}
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.getLogger("hemline").setLevel(level)


def main() -> None:
    """Run the command line; a mistake of the user's ends with one line and an exit code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell programmers is nothing for users
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except HemlineError as error:
        click.echo(f"error: {described(error)}", err=True)
        sys.exit(error.exit_code)
    except click.UsageError as error:
        click.echo(f"error: {error.format_message()} (see --help)", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: no file is half-written; the same command goes on", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # the reader of our output has gone: keep Python from complaining when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a folder without permission, a full disk
        where = "" if error.filename is None else f"{error.filename}: "
        click.echo(f"error: {where}{reason_of(error)}", err=True)
        sys.exit(1)

"""The command line: one group whose commands are imported when they are called."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import NamedTuple

import click

from hemline.bars import show_progress
from hemline.command_group import CommandGroup, error_text
from hemline.errors import HemlineError, InterruptedWorkError, UnknownNameError
from hemline.files import reason_of
from hemline.remedies import described
from hemline.verbosity import verbosity_options, with_verbosity
from hemline.version import VERSION


class Command(NamedTuple):
    """The package that defines a command, and its line in the list of commands."""

    package: str
    summary: str
    attribute: str = ""  # where the name of the command cannot be one of Python

    @property
    def module(self) -> str:
        """Return the module."""
        return f"hemline.{self.package}.commands"


# Heading in the list of commands to those below it, in the order of the work.
# No module here imports TensorFlow or a backend at its top; the list of commands imports none.
SECTIONS: dict[str, dict[str, Command]] = {
    "Data and training": {
        "data": Command("data", "Fetch, check and show data sets."),
        "train": Command("train", "Train a model and write its checkpoint."),
        "recipe": Command("train", "Print a recipe as a TOML file to edit."),
        "tune": Command("train.tuning", "Search for a better training recipe."),
        "baseline": Command("train.baselines", "Train baseline classifiers of scikit-learn."),
        "evaluate": Command(
            "bench.evaluation", "Report accuracy, confusion and calibration of models."
        ),
        "compare-datasets": Command(
            "train.comparison", "Compare how hard MNIST and Fashion-MNIST are for a model."
        ),
    },
    "Export": {
        "import": Command(
            "export.importing", "Import a model that was trained elsewhere.", "import_model"
        ),
        "export": Command("export", "Export a model to TFLite and ONNX, and verify each file."),
        "verify": Command("export", "Verify a bundle or a file in every installed runtime."),
        "plan": Command("export", "Show how the 8-bit files of a bundle are quantized."),
        "diagnose": Command(
            "export.quantization.diagnosis", "Show where and why a model loses accuracy in 8 bits."
        ),
        "inspect": Command(
            "export.inspection", "Show a model's operators and tensors, or this machine."
        ),
    },
    "On a device": {
        "classify": Command("runtime", "Classify image files, folders, a camera or a stream."),
        "index": Command(
            "runtime.similar", "Index images by their embeddings, to find similar ones."
        ),
        "similar": Command("runtime.similar", "Find indexed images that are similar to an image."),
        "selftest": Command("runtime", "Run the test images inside an artifact."),
        "score": Command("runtime.scoring", "Score many images and write one Parquet file."),
        "serve": Command("runtime.service", "Serve artifacts over HTTP until SIGTERM."),
        "pack": Command("export.pack", "Pack a verified file with all that its target needs."),
        "sign": Command("signing", "Sign a file, a bundle or a pack."),
        "drift": Command(
            "bench.drift", "Compare predictions in use with those on validation images."
        ),
        "device": Command("bench.devices", "Add and check boards, and install files on them."),
        "runtimes": Command("environments", "Add, list and remove other versions of the runtimes."),
        "doctor": Command("doctor", "Show versions, processor and caches for a bug report."),
    },
    "Measure and choose": {
        "bench": Command("bench", "Measure latency and memory in interleaved rounds."),
        "table": Command("bench.report", "Print size, accuracy and latency of each artifact."),
        "compare": Command(
            "bench.report", "Measure all artifacts and compare accuracy with latency."
        ),
        "choose": Command("bench.report", "Choose the artifact to ship within a budget."),
        "advise": Command("bench.advising", "Find layer sizes and operators that would be faster."),
        "gate": Command("bench.gate", "Check a bundle against a baseline, for CI."),
        "history": Command("bench.history", "Show latencies over time and where they changed."),
        "report": Command("bench.report.page", "Write everything measured to one HTML page."),
    },
}
COMMANDS = {name: command for rows in SECTIONS.values() for name, command in rows.items()}


class LazyGroup(CommandGroup):
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
            groups = {name: self.get_command(ctx, name) for name in COMMANDS}
            for name, group in groups.items():
                if isinstance(group, click.Group) and cmd_name in group.commands:
                    hint = f"unknown command {cmd_name!r}: did you mean '{name} {cmd_name}'?"
                    raise click.UsageError(hint, ctx)
            raise click.UsageError(str(UnknownNameError("command", cmd_name, COMMANDS)), ctx)
        module = importlib.import_module(COMMANDS[cmd_name].module)
        command: click.Command = getattr(
            module, COMMANDS[cmd_name].attribute or cmd_name.replace("-", "_")
        )
        return with_verbosity(command)

    def sections(self, ctx: click.Context) -> dict[str, dict[str, str]]:
        """Return the summaries by section, without importing any command."""
        del ctx
        return {
            section: {name: command.summary for name, command in rows.items()}
            for section, rows in SECTIONS.items()
        }


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.version_option(VERSION, prog_name="hemline")
@verbosity_options
@click.pass_context
def cli(ctx: click.Context) -> None:
    """From labelled images to a small, verified, measured file for an edge device."""
    show_progress(ctx)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command line; a mistake of the user's ends with one line and an exit code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell programmers is nothing for users
    try:
        sys.exit(cli.main(prog_name="hemline", standalone_mode=False) or 0)
    except HemlineError as error:
        click.echo(f"error: {described(error)}", err=True)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:  # of a group: its message is the help
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"error: {error_text(error)}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo(
            "interrupted: no file is half-written; run the same command again to continue", err=True
        )
        sys.exit(InterruptedWorkError.exit_code)
    except BrokenPipeError:
        # the reader of our output has gone: keep Python from complaining when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a folder without permission, a full disk
        where = "" if error.filename is None else f"{error.filename}: "
        click.echo(f"error: {where}{reason_of(error)}", err=True)
        sys.exit(1)

"""The command line: one group whose commands are imported when they are called."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import NamedTuple

import click

from hemline.errors import HemlineError, InterruptedWorkError, UnknownNameError
from hemline.files import reason_of
from hemline.remedies import described
from hemline.verbosity import verbosity_options, with_verbosity
from hemline.version import VERSION


class Command(NamedTuple):
    """Where a command is defined, and its line in the list of commands."""

    module: str
    summary: str
    attribute: str = ""  # where the name of the command cannot be one of Python


# No module here imports TensorFlow or a backend at its top; the list of commands imports none.
COMMANDS: dict[str, Command] = {
    "data": Command("hemline.data.commands", "Fetch, check and show data sets."),
    "train": Command("hemline.train.commands", "Train a model and write its checkpoint."),
    "recipe": Command(
        "hemline.train.commands", "Print a recipe as a TOML file, to change it and to train by it."
    ),
    "tune": Command(
        "hemline.train.tuning.commands",
        "Search for a better recipe of a model, by what validation images say.",
    ),
    "baseline": Command(
        "hemline.train.baselines.commands",
        "Train baseline classifiers of scikit-learn: NAME… or all; without a name, list them.",
    ),
    "evaluate": Command(
        "hemline.bench.evaluation.commands",
        "Evaluate checkpoints or artifacts: accuracy, classes, confusion, calibration.",
    ),
    "compare-datasets": Command(
        "hemline.train.comparison.commands",
        "Train a model alike on MNIST and Fashion-MNIST and show how much harder the one is.",
    ),
    "import": Command(
        "hemline.export.importing.commands",
        "Import a model that was made elsewhere as a checkpoint.",
        attribute="import_model",
    ),
    "export": Command(
        "hemline.export.commands",
        "Export a model in every scheme and verify each file in every runtime.",
    ),
    "verify": Command(
        "hemline.export.commands", "Verify a bundle or a file in every installed runtime."
    ),
    "plan": Command(
        "hemline.export.commands", "Show how the 8-bit files of a bundle are quantized."
    ),
    "diagnose": Command(
        "hemline.export.quantization.diagnosis.commands",
        "Show where and why a model loses accuracy in 8 bits, and what brings it back.",
    ),
    "runtimes": Command(
        "hemline.environments.commands",
        "Add, list and remove runtimes in other versions, here or for devices.",
    ),
    "inspect": Command(
        "hemline.export.inspection.commands",
        "Show a model: stamp, plan, operators, tensors; or this machine and its runtimes.",
    ),
    "classify": Command("hemline.runtime.commands", "Classify image files, a stream or a folder."),
    "selftest": Command("hemline.runtime.commands", "Run the test images inside an artifact."),
    "bench": Command(
        "hemline.bench.commands",
        "Measure latency and memory of a bundle's artifacts, in interleaved rounds.",
    ),
    "table": Command(
        "hemline.bench.report.commands",
        "Print one row for each artifact: size, accuracy, agreement, latency per runtime.",
    ),
    "compare": Command(
        "hemline.bench.report.commands",
        "Measure, then show accuracy against latency: table, JSON lines, picture and verdict.",
    ),
    "choose": Command(
        "hemline.bench.report.commands",
        "Choose the artifact to ship within a budget; exit code 3 when none fits.",
    ),
    "gate": Command(
        "hemline.bench.gate.commands",
        "Check a bundle against a baseline; exit code 3 when it fails, 4 for lack of evidence.",
    ),
    "advise": Command(
        "hemline.bench.advising.commands",
        "Show which channel counts, first layers and operators of a model would be faster.",
    ),
    "report": Command(
        "hemline.bench.report.page.commands",
        "Write one HTML page of all that was measured: what to ship, why, and how it was measured.",
    ),
    "history": Command(
        "hemline.bench.history.commands",
        "Show latencies over time, and mark where they changed: table and picture.",
    ),
    "device": Command(
        "hemline.bench.devices.commands", "Name boards, list them, and check any device."
    ),
    "doctor": Command(
        "hemline.doctor.commands", "Show versions, processor, runtimes and caches for a bug report."
    ),
}


# heading in the list of commands: those below it, in the order of the work
SECTIONS: dict[str, tuple[str, ...]] = {
    "Data and training": (
        *("data", "train", "recipe", "tune", "baseline", "evaluate", "compare-datasets"),
    ),
    "Export": ("import", "export", "verify", "plan", "diagnose", "inspect"),
    "On a device": ("classify", "selftest", "device", "runtimes", "doctor"),
    "Measure and choose": (
        *("bench", "table", "compare", "choose", "advise", "gate", "history", "report"),
    ),
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
        module = importlib.import_module(COMMANDS[cmd_name].module)
        command: click.Command = getattr(
            module, COMMANDS[cmd_name].attribute or cmd_name.replace("-", "_")
        )
        return with_verbosity(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, by section, without importing any of them."""
        del ctx
        width = max(map(len, COMMANDS)) + 2
        for section, names in SECTIONS.items():
            rows = [(name.ljust(width - 2), COMMANDS[name].summary) for name in names]
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(VERSION, prog_name="hemline")
@verbosity_options
@click.pass_context
def cli(ctx: click.Context) -> None:
    """From labelled images to a small, verified, measured file for an edge device."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command line; a mistake of the user's ends with one line and an exit code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell programmers is nothing for users
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except HemlineError as error:
        click.echo(f"error: {described(error)}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        advice = " (see --help)" if isinstance(error, click.UsageError) else ""
        lead = "" if isinstance(error, click.exceptions.NoArgsIsHelpError) else "error: "
        click.echo(f"{lead}{error.format_message()}{advice if lead else ''}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: no file is half-written; the same command goes on", err=True)
        sys.exit(InterruptedWorkError.exit_code)
    except BrokenPipeError:
        # the reader of our output has gone: keep Python from complaining when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a folder without permission, a full disk
        where = "" if error.filename is None else f"{error.filename}: "
        click.echo(f"error: {where}{reason_of(error)}", err=True)
        sys.exit(1)

"""`hemline pack`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import click

from hemline.arguments import flag, output_option, path_argument
from hemline.environments.wheels import MACHINES
from hemline.errors import UsageError
from hemline.export.pack.packed import PackOptions
from hemline.export.pack.table import TARGETS, find_target
from hemline.tables import kilobytes

_DEFAULTS = PackOptions()


@click.command()
@path_argument("bundle", "BUNDLE")
@click.option(
    "--for",
    "target",
    metavar="TARGET",
    required=True,
    help="; ".join(f"{each.name}: {each.summary}" for each in TARGETS.values()) + ".",
)
@output_option(
    "Folder, or archive by its ending .tar.gz, .tgz or .zip (default: packs/BUNDLE-TARGET).",
    click.Path(path_type=Path),
)
@click.option("--artifact", metavar="FILE", help="File of the bundle (default: recommended).")
@click.option(
    "--machine",
    type=click.Choice(list(MACHINES)),
    default=_DEFAULTS.machine,
    show_default=True,
    help="Of pi: processor of the board.",
)
@click.option(
    "--wheels",
    metavar="PYTHON",
    multiple=True,
    help="Of pi: fetch wheels for a board without a network and this Python (3.13); repeat for "
    "more.",
)
@flag("--force", "Replace a pack that is there.")
def pack(
    bundle: Path,
    target: str,
    output: Path | None,
    artifact: str | None,
    machine: str,
    wheels: tuple[str, ...],
    force: bool,
) -> None:
    """Pack a verified file with all that its target needs.

    Every pack has labels, checksums, a model card, a bill of materials (CycloneDX), licences, a
    short README and a self-test that runs on the target. Exit code 3 when no file of the bundle was
    verified or fits the target.
    """
    from hemline.export.pack.packing import pack as make

    options = PackOptions(artifact=artifact, machine=machine, wheels=wheels)
    row = find_target(target)
    for each in fields(PackOptions):
        given = getattr(options, each.name) != getattr(_DEFAULTS, each.name)
        if given and each.name not in ("artifact", *row.options):
            raise UsageError(f"--{each.name.replace('_', '-')} is not for {target}: leave it out")
    made = make(bundle, target, output=output, options=options, force=force)
    click.echo(
        f"{made.path}: {made.packed.artifact.name} for {row.summary}, {made.files} files, "
        f"{kilobytes(made.size_bytes)}; its README.md says how to run it"
    )

"""`hemline pack`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from hemline.arguments import FOLDER, flag, output_option, path_argument
from hemline.console import say
from hemline.environments.wheels import MACHINES
from hemline.errors import UsageError
from hemline.export.pack.packed import PackOptions
from hemline.export.pack.table import TARGETS


@click.command()
@path_argument("bundle", "BUNDLE")
@click.option(
    "--for",
    "target",
    type=click.Choice(list(TARGETS)),
    metavar="TARGET",
    required=True,
    help="; ".join(f"{each.name}: {each.summary}" for each in TARGETS.values()) + ".",
)
@output_option(
    "Folder, or archive that ends in .tar.gz (default: packs/BUNDLE-TARGET).",
    click.Path(path_type=Path),
)
@click.option("--artifact", metavar="FILE", help="File of the bundle (default: recommended).")
@click.option("--device", metavar="NAME", help="Pack the file that `choose` chose for this device.")
@click.option(
    "--machine", type=click.Choice(list(MACHINES)), help="Of pi: its processor (default: aarch64)."
)
@click.option(
    "--wheels",
    metavar="PYTHON",
    multiple=True,
    help="Of pi: add wheels for a board without a network and this Python (3.13); repeat for more.",
)
@flag("--single-file", "Of web: one page with everything in it, to double click.")
@click.option(
    "--similar",
    metavar="INDEX",
    type=FOLDER,
    help="Of web: show similar images of an index that this file made (see `hemline index`).",
)
@click.option(
    "--flash-kb", type=click.IntRange(1), help="Of c: flash for the model, in kB of 1,000 bytes."
)
@click.option("--sram-kb", type=click.IntRange(1), help="Of c: SRAM for the model, likewise.")
@flag("--force", "Replace a pack that is there.")
def pack(target: str, bundle: Path, output: Path | None, force: bool, **given: Any) -> None:
    """Pack a verified file with all that its target needs.

    Every pack has labels, checksums, a model card, a bill of materials (CycloneDX), licences, a
    short README and a self-test that runs on the target. Exit code 3 when no file of the bundle was
    verified or fits the target.
    """
    from hemline.export.api import pack as packed_for

    row, chosen = TARGETS[target], {name: value for name, value in given.items() if value}
    for name in sorted(chosen.keys() - {"artifact", "device", *row.options}):
        raise UsageError(f"--{name.replace('_', '-')} is not for {target}: leave it out")
    result = packed_for(bundle, target, output=output, options=PackOptions(**chosen), force=force)
    path, packed = result.path, result.packed
    click.echo(
        f"{path}: {packed.artifact.name} for {packed.place}; its README.md says how to run it"
    )
    click.echo(f"why {packed.artifact.name}: {packed.why}")
    for each in packed.manifest.recommended_on:
        if each.artifact != packed.artifact.name:
            say(f"chosen for {each.device}: {each.artifact} (pack it with --device {each.device})")
    step = "open @PATH@/index.html" if packed.options.single_file else row.next_step
    if step and path.is_dir():
        say(f"next: {step.replace('@PATH@', shlex.quote(str(path)))}")

"""`hemline index` and `hemline similar`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hemline.arguments import FOLDER, PATH, flag, json_option, output_option
from hemline.console import next_step, say
from hemline.data.custom.reading import counted, few
from hemline.errors import HemlineError
from hemline.folders import size_of
from hemline.remedies import described
from hemline.tables import Table, as_text


@click.command()
@click.argument("artifact", type=PATH)
@click.argument("source")
@output_option("Folder of the index.", default="images.index")
@flag("--force", "Replace an index that is there.")
def index(artifact: Path, source: str, output: Path, force: bool) -> None:
    """Index images by their embeddings, to find similar ones.

    ARTIFACT is a file or bundle exported with --with-embedding. SOURCE is a folder of images, an
    array or shards, or what `hemline score --with-embedding` wrote. The index is a folder with a
    copy of the artifact; the images stay where they are.
    """
    from hemline.runtime.similar import api
    from hemline.runtime.similar.building import NEIGHBOURS

    done = api.index(artifact, source, output, force=force)
    if done.left_out:
        say(f"left out: {few(done.left_out)}")
    size = f"{counted(done.images, 'image')}, {size_of(output) / 1e6:.1f} MB"
    click.echo(
        f"{output}: {size}; a search finds "
        f"{100 * done.recall:.1f} % of the {NEIGHBOURS} nearest images of an exact search"
    )
    next_step("similar", output, "IMAGE")


@click.command()
@click.argument("folder", metavar="INDEX", type=FOLDER)
@click.argument("images", metavar="IMAGE…", nargs=-1, required=True)
@click.option("-n", "count", type=click.IntRange(1, 1000), default=5, help="Images to find (5).")
@json_option()
def similar(folder: Path, images: tuple[str, ...], count: int, as_json: bool) -> None:
    """Find indexed images that are similar to an image.

    IMAGE is an image file, or a folder of them. The similarity is the cosine of the angle between
    two embeddings, 1 for equal ones; the label is the best class of the found image. For an IMAGE
    that cannot be read, the error is printed, and the exit code is 1.
    """
    from hemline.runtime.similar import api

    failed = False
    for name, found in api.searches(folder, images, count):
        if isinstance(found, HemlineError):
            click.echo(f"error: {described(found)}", err=True)
            failed = True
        elif as_json:
            rows = [each._asdict() for each in found.neighbours]
            click.echo(json.dumps({"image": name, "label": found.label, "similar": rows}))
        else:
            lines = [(f"{n.similarity:.3f}", n.label, n.name) for n in found.neighbours]
            table = Table.of((">similarity", "label", f"image in {found.source}"), lines)
            click.echo(f"{found.image}: {found.label}\n{as_text(table)}\n")
    if failed:
        raise click.exceptions.Exit(1)

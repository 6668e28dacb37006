"""`hemline index` and `hemline similar`."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from hemline.arguments import FOLDER, PATH, flag, json_option, output_option
from hemline.console import next_step, say
from hemline.data.custom.reading import counted, few
from hemline.errors import HemlineError
from hemline.folders import size_of
from hemline.host import cores
from hemline.remedies import described
from hemline.silence import silenced
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
    from hemline.runtime.classifier import Classifier
    from hemline.runtime.similar.building import NEIGHBOURS, build
    from hemline.runtime.similar.embedding import embedded
    from hemline.runtime.similar.scores import scored

    faults = list[str]()
    with silenced():
        classifier = Classifier.load(artifact, threads=cores())
    with classifier:
        file = artifact / classifier.stamp.name if artifact.is_dir() else artifact
        batches = scored(Path(source), classifier.stamp) or embedded(classifier, source, faults)
        card = build(batches, file, output, source, force=force)
    if faults:
        say(f"left out: {few(faults)}")
    size = f"{counted(card.images, 'image')}, {size_of(output) / 1e6:.1f} MB"
    click.echo(
        f"{output}: {size}; a search finds "
        f"{100 * card.recall:.1f} % of the {NEIGHBOURS} nearest images of an exact search"
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
    from hemline.runtime.classifier import Classifier
    from hemline.runtime.input.image_folder import image_files
    from hemline.runtime.similar.embedding import embed
    from hemline.runtime.similar.image_index import ImageIndex, read_card

    failed = False
    with silenced():
        classifier = Classifier.load(folder / read_card(folder).artifact)
    with classifier, ImageIndex(folder) as opened:
        for name in image_files(images):
            try:
                query = embed(classifier, [name], classifier.prepare(name)[np.newaxis])
            except HemlineError as error:
                click.echo(f"error: {described(error)}", err=True)
                failed = True
                continue
            found = opened.find(query.embeddings[0], count)
            if as_json:
                rows = [each._asdict() for each in found]
                click.echo(json.dumps({"image": name, "label": query.labels[0], "similar": rows}))
                continue
            lines = [(f"{each.similarity:.3f}", each.label, each.name) for each in found]
            table = Table.of((">similarity", "label", f"image in {opened.card.source}"), lines)
            click.echo(f"{query.names[0]}: {query.labels[0]}\n{as_text(table)}\n")
    if failed:
        raise click.exceptions.Exit(1)

"""`hemline score`."""

from __future__ import annotations

from pathlib import Path

import click

from hemline.arguments import FILE, PATH, flag, output_option, ray_option
from hemline.errors import DataError


@click.command()
@click.argument("artifact", metavar="ARTIFACT", type=PATH)
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True)
@output_option("Parquet file to write.", FILE)
@click.option("--workers", type=click.IntRange(1), help="Processes (default: one for each core).")
@ray_option("it")
@click.option("--runtime", help="Runtime (default: the first one here that the file supports).")
@flag("--with-embedding", "Also write the embedding of each image.", "embedding")
@flag("--force", "Overwrite the file, and what an unfinished run left.")
def score(
    artifact: Path,
    sources: tuple[str, ...],
    output: Path | None,
    workers: int | None,
    ray_address: str | None,
    runtime: str | None,
    embedding: bool,
    force: bool,
) -> None:
    """Score many images and write one Parquet file.

    SOURCE is a folder, an image, an array (.npz, IDX) or shards (.tar, .tfrecord, .parquet), or a
    pattern of them in quotes. A row has the image's name, label, score, all scores and, for an
    image that cannot be read, the error. If interrupted, run the same command again: it continues.
    """
    if output is None:
        raise click.UsageError("name the file to write: -o scores.parquet")
    from hemline.runtime.scoring import api

    result = api.score(
        artifact,
        sources,
        output,
        workers=workers,
        ray=ray_address,
        runtime=runtime,
        embedding=embedding,
        force=force,
    )
    faults = f", {result.faults:,} could not be read (column error)" if result.faults else ""
    rate = f", {result.scored / result.seconds:,.0f} images/s" if result.scored else ""
    known = result.labelled
    correct = f", {result.correct:,} of {known:,} correctly classified" if known else ""
    click.echo(f"{output}: {result.images:,} images{faults}{correct}{rate}")
    if result.faults == result.images > 0:
        raise DataError(f"no image could be read: the column error of {output} says why")

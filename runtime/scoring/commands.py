"""`hemline score`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hemline.arguments import FILE, PATH, flag, output_option, ray_option
from hemline.console import require_package, say
from hemline.host import cores

if TYPE_CHECKING:
    from hemline.runtime.scoring.executing import Execute


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
    require_package("pyarrow", "scoring needs: pip install pyarrow")
    from hemline.runtime.bundle_choice import pick_artifact
    from hemline.runtime.scoring import scoring
    from hemline.runtime.scoring.scorer import ScoringOptions

    if artifact.is_dir():
        artifact, backend = pick_artifact(artifact, runtime)
        runtime = backend.name
    options = ScoringOptions(artifact=str(artifact.resolve()), runtime=runtime, embedding=embedding)
    with _executor(workers, ray_address) as (execute, count):
        result = scoring.score(
            options, sources, output, execute=execute, workers=count, force=force
        )
    faults = f", {result.faults:,} could not be read (column error)" if result.faults else ""
    rate = f", {result.scored / result.seconds:,.0f} images/s" if result.scored else ""
    click.echo(f"{output}: {result.images:,} images{faults}{rate}")


@contextlib.contextmanager
def _executor(workers: int | None, ray_address: str | None) -> Iterator[tuple[Execute, int]]:
    """Yield what does the work, and how many work at once."""
    from hemline.runtime.scoring import executing

    if ray_address is None:
        yield executing.in_processes(workers or cores()), workers or cores()
        return
    from hemline.cluster import connected

    with connected(ray_address, executing.CORE) as cluster:
        places = cluster.places(executing.CORE)
        count = min(places, workers or places)
        say(f"scoring on {count} of the {places} cores of {cluster}")
        yield executing.on_ray(count), count

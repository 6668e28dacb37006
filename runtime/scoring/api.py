"""Score many images from Python, as the command does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.errors import UsageError
from hemline.host import cores
from hemline.progress import say
from hemline.runtime.scoring.result import ScoringResult

if TYPE_CHECKING:
    from hemline.runtime.scoring.executing import Execute


def score(
    artifact: Path | str,
    sources: Sequence[Path | str] | Path | str,
    output: Path | str,
    *,
    workers: int | None = None,
    ray: str | None = None,
    runtime: str | None = None,
    embedding: bool = False,
    force: bool = False,
) -> ScoringResult:
    """Score many images into a Parquet file with a row for each; interrupted work goes on.

    artifact: a file, or a bundle, of which the recommended file is taken.
    sources: folders, images, arrays or shards, or patterns of them; one, or several.
    output: file to write.
    workers: processes (default: one for each core).
    ray: address of a Ray cluster to work on; "" is one of this machine.
    runtime: that opens the artifact (default: the first one here that it supports).
    embedding: also write the embedding of each image.
    force: overwrite the file, and what an unfinished run left.

    Raises HemlineError for an artifact, source or cluster that cannot be used, StorageError on a
    full disk. An image that cannot be read has a row with the reason.
    """
    from hemline.console import require_package

    require_package("pyarrow", "scoring needs: pip install pyarrow")
    from hemline.runtime.bundle_choice import pick_artifact
    from hemline.runtime.scoring import scoring
    from hemline.runtime.scoring.scorer import ScoringOptions

    file, names = Path(artifact), [sources] if isinstance(sources, str | Path) else sources
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}: at least 1")
    if file.is_dir():
        file, backend = pick_artifact(file, runtime)
        runtime = backend.name
    options = ScoringOptions(artifact=str(file.resolve()), runtime=runtime, embedding=embedding)
    with _executor(workers, ray) as (execute, count):
        return scoring.score(
            options, [*map(str, names)], Path(output), execute=execute, workers=count, force=force
        )


@contextlib.contextmanager
def _executor(workers: int | None, ray: str | None) -> Iterator[tuple[Execute, int]]:
    """Yield what does the work, and how many work at once."""
    from hemline.runtime.scoring import executing

    if ray is None:
        yield executing.in_processes(workers or cores()), workers or cores()
        return
    from hemline.cluster import connected

    with connected(ray, executing.CORE) as cluster:
        places = cluster.places(executing.CORE)
        count = min(places, workers or places)
        say(f"scoring on {count} of the {places} cores of {cluster}")
        yield executing.on_ray(count), count

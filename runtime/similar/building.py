"""Build an index: add embeddings, then widen its search until it finds what an exact one does."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hemline.contract import schema
from hemline.contract.stamp import read_stamped
from hemline.errors import DataError, StorageError, UsageError, first_line, remedy
from hemline.files import sha256_of
from hemline.folders import TemporaryFolder
from hemline.host import cores
from hemline.runtime.similar.embedding import Embedded
from hemline.runtime.similar.image_index import CARD, IMAGES, VECTORS, IndexCard, empty_index
from hemline.runtime.similar.page_images import PageImages

NEIGHBOURS = 10  # whose recall is measured, on so many queries
_QUERIES = 200
_WIDTHS = (64, 128, 256, 512, 1024)
_ENOUGH = 0.99  # recall; a wider search is slower
_ROUNDING = 1e-6  # of distances: images that are equally far may come in any order


def build(
    batches: Iterable[Embedded], artifact: Path, folder: Path, source: str, *, force: bool = False
) -> IndexCard:
    """Write the index of images into `folder`, with a copy of the artifact that embedded them.

    Raises UsageError for a folder that is taken, by an index without `force` or by anything else;
    DataError without an image, and for embeddings that are not numbers.
    """
    if folder.exists() and not (folder / CARD).is_file():
        what = f"{folder} is there and is not an index of images"
        raise UsageError(what, remedy=remedy("other output folder"))
    if folder.exists() and not force:
        raise UsageError(f"{folder} is there already", remedy=remedy("replace or move"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryFolder(str(folder.parent)) as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        card = _fill(new, batches, artifact, source)
        if folder.exists():
            folder.rename(Path(temporary) / "old")  # removed with the temporary folder
        new.rename(folder)
    return card


def _fill(folder: Path, batches: Iterable[Embedded], artifact: Path, source: str) -> IndexCard:
    stamp, shown = read_stamped(artifact).stamp, PageImages()
    if stamp.embedding is None:
        what = f"{stamp.name} has no embedding"
        raise UsageError(what, remedy=remedy("export with embedding"))
    size = stamp.embedding.size
    index = empty_index(size)
    with _storing(sqlite3.Error):
        images = _add_all(index, batches, folder / IMAGES, shown)
    if not images:
        raise DataError(f"{source} has no image that can be read")
    width, recall = _measured(index)
    with _storing(RuntimeError):
        index.save(folder / VECTORS)
    shown.write(folder)
    shutil.copyfile(artifact, folder / stamp.name)
    card = IndexCard(
        artifact=stamp.name,
        model_sha256=stamp.payload_sha256,
        images=images,
        size=size,
        width=width,
        recall=recall,
        source=source,
        hashes={each.name: sha256_of(each) for each in sorted(folder.iterdir())},
    )
    schema.save(folder / CARD, card)
    return card


@contextmanager
def _storing(kind: type[Exception]) -> Iterator[None]:
    """Raise StorageError where what is written inside fails, as on a full disk."""
    try:
        yield
    except kind as error:
        raise StorageError(f"cannot write the index: {first_line(error)}") from error


def _add_all(index: Any, batches: Iterable[Embedded], path: Path, shown: PageImages) -> int:
    count = 0
    with closing(sqlite3.connect(path)) as images:
        images.execute("create table images (key integer primary key, name text, label text)")
        for batch in batches:
            if not np.isfinite(batch.embeddings).all():
                raise DataError(
                    f"an embedding has values that are not numbers: {batch.names[0]}, …"
                )
            keys = range(count, count + len(batch.names))
            index.add(np.array(keys), batch.embeddings, threads=cores())
            rows = zip(keys, batch.names, batch.labels, strict=True)
            images.executemany("insert into images values (?, ?, ?)", rows)
            shown.add(batch)
            count = keys.stop
        images.commit()
    return count


def _measured(index: Any) -> tuple[int, float]:
    """Return how many candidates a search must keep, and its recall."""
    count = len(index)
    if count == 1:
        return _WIDTHS[0], 1.0
    keys = np.random.default_rng(0).choice(count, min(_QUERIES, count), replace=False)
    queries, most = np.stack(index.get(keys, dtype="f32")), min(NEIGHBOURS + 1, count)  # and itself
    farthest = index.search(queries, most, exact=True, threads=cores()).distances[:, -1:]
    recall = 0.0
    for width in _WIDTHS:
        index.expansion_search = width
        found = index.search(queries, most, threads=cores())
        near = found.distances[:, 1:] <= farthest + _ROUNDING
        there = np.arange(1, most) < found.counts[:, np.newaxis]
        recall = float((near & there).mean())
        if recall >= _ENOUGH:
            break
    return width, recall

"""Divide sources into tasks whose results are files: what is there is never done again.

A unit is up to 1,024 image files, or one array or shard. Its chunks are numbered, and the last one
is marked. How many images a shard has need not be known: of several workers that share one, each
takes every n-th chunk.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hemline.data.sources.items import Item, Part, parts_of, reader_of
from hemline.errors import DataError
from hemline.files import write_bytes
from hemline.runtime.scoring.scorer import Scorer

_FILES = 1024  # images of a chunk that must be decoded: some seconds of work for photographs
_ARRAYS = 16384  # of one that need not be
_SHARES = 4  # shards for each worker, from which on none must be shared to occupy all to the end
_NAME = re.compile(r"(\d+)-(\d+)-(\d+)(-last)?\.arrow")


class Unit(NamedTuple):
    """Files that are read together: images, or one shard."""

    number: int
    parts: tuple[Part, ...]
    is_shard: bool


class Task(NamedTuple):
    """Every `step`-th chunk of a unit from `first` on, but those that are done."""

    unit: Unit
    first: int
    step: int
    done: frozenset[int]


class Chunk(NamedTuple):
    """A file of the rows of some images; the last one of a unit may be empty."""

    unit: int
    number: int
    images: int
    is_last: bool

    def path(self, folder: Path) -> Path:
        """Return its file, whose name says what it has."""
        last = "-last" if self.is_last else ""
        return folder / f"{self.unit:08}-{self.number:08}-{self.images}{last}.arrow"


def chunks_in(folder: Path) -> list[Chunk]:
    """Return the chunks in a folder in the order of the images."""
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    groups = (each.groups() for each in found if each)
    return sorted(Chunk(int(u), int(n), int(images), bool(last)) for u, n, images, last in groups)


def units_of(sources: Sequence[str]) -> list[Unit]:
    """Return the units of sources in their order. Raises DataError for one without images."""
    found = [part for source in sources for part in parts_of(source)]
    # the place inside one of several sources would not tell images apart
    names = (str(part.path) if len(sources) > 1 else part.name for part in found)
    parts = [Part(part.path.absolute(), name) for part, name in zip(found, names, strict=True)]
    units = list[Unit]()
    for is_shard, run in itertools.groupby(parts, lambda part: reader_of(part.path) is not None):
        files, size = tuple(run), 1 if is_shard else _FILES
        for at in range(0, len(files), size):
            units.append(Unit(len(units), files[at : at + size], is_shard))
    return units


def tasks_of(units: Sequence[Unit], chunks: Sequence[Chunk], workers: int) -> list[Task]:
    """Return what is left; all workers share each shard where there are few."""
    done: Mapping[int, set[int]] = defaultdict(set)
    sizes = dict[int, int]()  # unit to its number of chunks
    for chunk in chunks:
        done[chunk.unit].add(chunk.number)
        if chunk.is_last:
            sizes[chunk.unit] = chunk.number + 1
    left = [unit for unit in units if len(done[unit.number]) != sizes.get(unit.number)]
    few = len(left) < _SHARES * workers
    steps = [workers if unit.is_shard and few else 1 for unit in left]
    return [
        Task(unit, first, step, frozenset(done[unit.number]))
        for unit, step in zip(left, steps, strict=True)
        for first in range(step)
    ]


def do_task(task: Task, scorer: Scorer, folder: Path) -> Iterator[Chunk]:
    """Write the chunks of a task, whole or not at all, and yield each."""
    items = itertools.chain.from_iterable(map(_items, task.unit.parts))
    start = list(itertools.islice(items, 1))
    items = itertools.chain(start, items)
    is_array = bool(start) and isinstance(start[0].content, np.ndarray)
    size = _ARRAYS if is_array else _FILES
    for number in itertools.count():
        part = itertools.islice(items, size)
        if number % task.step != task.first or number in task.done:
            if sum(1 for _ in part) < size:
                return
            continue
        table = scorer.table(part)
        chunk = Chunk(
            task.unit.number, number, len(table), not task.unit.is_shard or len(table) < size
        )
        write_bytes(chunk.path(folder), _arrow(table))
        yield chunk
        if chunk.is_last:
            return


def _items(part: Part) -> Iterator[Item]:
    """Yield the images of a part; at the end the reason, where it cannot be read to its end."""
    try:
        yield from part.items()
    except DataError as error:
        yield Item(part.name, error)


def _arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    rows: bytes = sink.getvalue().to_pybytes()
    return rows

"""Score images with one classifier: a row for each image, also for one that cannot be read."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hemline.closing import Closing
from hemline.data.sources.items import Item
from hemline.errors import UsageError, remedy
from hemline.pictures.pixels import Pixels
from hemline.runtime.backends import LOGITS_ONLY, version_of
from hemline.runtime.classification import name_text
from hemline.runtime.classifier import Classifier
from hemline.runtime.decoder import UNKNOWN
from hemline.silence import silenced
from hemline.version import VERSION

FEW_VALUES = ["label", "best", "true", "error"]  # columns that a dictionary makes small
_AT_ONCE_BYTES = 1 << 23  # of pixels in memory
_NUMBERS = pa.list_(pa.float32())  # a list of a fixed size cannot be null in a Parquet file


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringOptions:
    """How images are scored; another process can open the same classifier from it.

    artifact: a file, not a bundle.
    embedding: whether a row has the embedding.
    """

    artifact: str
    runtime: str | None = None
    embedding: bool = False


class Scorer(Closing):
    """A classifier whose predictions become rows of a table.

    schema: of the table; its metadata name the model.
    """

    def __init__(self, options: ScoringOptions) -> None:
        """Open the artifact; raises what Classifier.load does, UsageError without an embedding."""
        with silenced():
            self._classifier = Classifier.load(Path(options.artifact), runtime=options.runtime)
        stamp = self.stamp = self._classifier.stamp
        spec = stamp.embedding
        if options.embedding and spec is None:
            raise UsageError(
                f"{stamp.name} has no embedding", remedy=remedy("export with embedding")
            )
        needed = options.embedding or stamp.distance is not None
        self._outputs = (*LOGITS_ONLY, *([spec.name] if spec is not None and needed else []))
        # a source may know the number of a class only
        self._names: dict[object, str | None] = {None: None, **dict(enumerate(stamp.labels))}
        self._words = pa.array([*stamp.labels, *({UNKNOWN} - {*stamp.labels})])
        self.schema = _schema(self._classifier, embedding=options.embedding)

    def table(self, items: Iterable[Item]) -> pa.Table:
        """Return a row for each image, in their order; few images are in memory at a time."""
        items = iter(items)
        tables = [self.schema.empty_table()]
        at_once = -(-_AT_ONCE_BYTES // math.prod(self.stamp.input.shape))
        while rows := list(itertools.islice(items, at_once)):
            tables.append(self._table(rows))
        return pa.concat_tables(tables)

    def close(self) -> None:
        """Free the model."""
        self._classifier.close()

    def _seen(self, items: list[Item]) -> Iterator[Pixels | str]:
        """Yield the pixels that the model sees of each, or why there are none."""
        prepare, shape = self._classifier.prepare, self.stamp.input.shape
        side = max(shape[:2])
        for item in items:
            image = item.content
            if isinstance(image, np.ndarray) and image.shape == shape:
                yield image  # arrays may be many
            else:
                yield item.prepared(prepare, side)

    def _table(self, items: list[Item]) -> pa.Table:
        seen = [*self._seen(items)]
        faults = [each if isinstance(each, str) else None for each in seen]
        columns = self._columns([each for each in seen if not isinstance(each, str)])
        if columns.num_rows < len(items):
            good = np.array([each is None for each in faults])
            columns = columns.take(pa.array(np.cumsum(good) - 1, mask=~good))
        names, known = [item.name for item in items], self._names
        true = [known[each] if each in known else str(each) for each in (i.label for i in items)]
        for name, values in (("image", names), ("true", true), ("error", faults)):
            columns = columns.append_column(name, _texts(values))
        return columns.select(self.schema.names).cast(self.schema)

    def _columns(self, images: list[Pixels]) -> pa.Table:
        """Return what the model says of images."""
        shape, decoder = self.stamp.input.shape, self._classifier.decoder
        pixels = np.concatenate(images).reshape(-1, *shape) if images else np.empty((0, *shape))
        outputs = self._classifier.outputs(pixels.astype(np.uint8, copy=False), self._outputs)
        scores = decoder.softmax(outputs[LOGITS_ONLY[0]])
        best = scores.argmax(axis=1)
        score = scores[np.arange(len(best)), best]
        distance = np.zeros(len(best), np.float32)
        if decoder.distances is not None:
            distance = decoder.distances(outputs[decoder.distances.spec.name])
        known = decoder.knows(score.astype(np.float64), distance.astype(np.float64))
        label = np.where(known, best, self._words.index(UNKNOWN).as_py())
        columns = {
            "label": self._words.take(pa.array(label)),
            "best": self._words.take(pa.array(best)),
            "score": score,
            "known": known,
            "distance": distance,
            "scores": _lists(scores),
            "embedding": _lists(outputs[self._outputs[-1]]),
        }
        return pa.table(columns)


def _texts(values: Sequence[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # a file's name need not be text
        return pa.array([each and name_text(each) for each in values], pa.string())


def _lists(values: npt.NDArray[np.float32]) -> pa.Array:
    starts = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(starts, values.reshape(-1))


def _schema(classifier: Classifier, *, embedding: bool) -> pa.Schema:
    stamp, backend = classifier.stamp, classifier.backend
    facts = {
        "artifact": stamp.name,
        "sha256": stamp.payload_sha256,
        "model": stamp.model,
        "runtime": f"{backend.name} {version_of(backend)}",
        "labels": stamp.labels,
        "hemline": VERSION,
    }
    columns = {
        "image": pa.string(),
        "true": pa.string(),
        "label": pa.string(),
        "best": pa.string(),
        "score": pa.float32(),
        "known": pa.bool_(),
        **({} if stamp.distance is None else {"distance": pa.float32()}),
        "scores": _NUMBERS,
        **({"embedding": _NUMBERS} if embedding else {}),
        "error": pa.string(),
    }
    return pa.schema(columns.items(), {"hemline": json.dumps(facts)})

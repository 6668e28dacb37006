"""Count what an artifact predicts in use, in hourly windows that several processes may share.

A folder has a folder of each artifact: artifact.json with the reference of its stamp, windows/ with
a file for each hour, and unsure/ with the images that were to be kept. Files are written whole or
not at all, under a lock; a process that is killed loses what it counted in the last minute.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
import math
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hemline import files
from hemline.closing import Closing
from hemline.contract import schema
from hemline.contract.monitoring import MonitoredArtifact, Reference, Window
from hemline.errors import HemlineError, NewerSchemaError, UsageError, remedy
from hemline.runtime.monitoring.png import png_bytes

if TYPE_CHECKING:
    from hemline.contract.stamp import Stamp
    from hemline.pictures.pixels import Pixels
    from hemline.runtime.decoder import Prediction

log = logging.getLogger(__name__)

ARTIFACT, WINDOWS, UNSURE = "artifact.json", "windows", "unsure"
MOST_WINDOWS = 1000  # six weeks of hours; with ten classes a file has 0.5 kB
_WINDOW_SECONDS = 3600
_SAVE_SECONDS = 60.0  # what is written wears an SD card out
_LOCK_SECONDS = 10.0


class Monitor(Closing):
    """The windows of one artifact. Several threads may add to them, one saves them."""

    def __init__(
        self,
        folder: Path,
        stamp: Stamp,
        *,
        keep_unsure: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the artifact's folder in `folder`, where `keep_unsure` images may be kept.

        Raises UsageError for an artifact without a reference, HemlineError for a folder that cannot
        be written.
        """
        if stamp.reference is None:
            raise UsageError(
                f"{stamp.name} has no reference to monitor it against",
                remedy=remedy("export reference"),
            )
        self.folder = folder / f"{Path(stamp.name).name}-{stamp.payload_sha256[:8]}"
        self._reference, self._clock = stamp.reference, clock
        self._lock, self._due = threading.Lock(), time.monotonic() + _SAVE_SECONDS
        self._counts: dict[str, _Counts] = {}  # by the start of the window
        self._unsaved: dict[str, Window] = {}
        self._unsure = _Unsure(self.folder / UNSURE, keep_unsure) if keep_unsure else None
        about = MonitoredArtifact(
            name=stamp.name,
            sha256=stamp.payload_sha256,
            labels=stamp.labels,
            reference=stamp.reference,
        )
        with files.locked(self.folder, wait_seconds=_LOCK_SECONDS):
            schema.save(self.folder / ARTIFACT, about)

    def add(self, predictions: Sequence[Prediction], images: Iterable[Pixels]) -> None:
        """Count predictions; `images` are what the model received, uint8 (height, width, c)."""
        hour = self._clock() // _WINDOW_SECONDS * _WINDOW_SECONDS
        start = time.strftime("%Y-%m-%dT%H", time.gmtime(hour))
        with self._lock:
            if start not in self._counts:
                self._counts[start] = _Counts(self._reference)
            for prediction, image in zip(predictions, images, strict=True):
                self._counts[start].add(prediction)
                if self._unsure is not None:
                    self._unsure.offer(prediction, image)

    def save_when_due(self) -> None:
        """Save once a minute; if that fails, log why, and try again a minute later."""
        if time.monotonic() >= self._due:
            try:
                self.save()
            except HemlineError as error:
                log.warning("%s", error)

    def save(self) -> None:
        """Add what was counted to the files; raises HemlineError, and keeps it, if that fails."""
        self._due = time.monotonic() + _SAVE_SECONDS
        with self._lock:
            for start, counts in self._counts.items():
                self._unsaved[start] = counts.added_to(self._unsaved.get(start), start)
            self._counts = {}
            kept = [] if self._unsure is None else self._unsure.taken()
        with files.locked(self.folder, wait_seconds=_LOCK_SECONDS):
            for start in sorted(self._unsaved):
                self._save_window(self._unsaved[start])
                del self._unsaved[start]
            _remove(sorted((self.folder / WINDOWS).glob("[0-9]*.json"))[:-MOST_WINDOWS])
            if self._unsure is not None:
                self._unsure.save(kept)

    def close(self) -> None:
        """Save what was counted."""
        self.save()

    def _save_window(self, window: Window) -> None:
        path = self.folder / WINDOWS / f"{window.start}.json"
        try:
            window = schema.load(Window, path).plus(window) if path.exists() else window
        except NewerSchemaError:
            raise
        except (HemlineError, ValueError) as error:
            log.warning("%s is damaged, its counts begin again: %s", path, error)
        schema.save(path, window)


class _Counts:
    """Counts of predictions, in the bins of a reference."""

    def __init__(self, reference: Reference) -> None:
        away = reference.distances
        self._edges = reference.scores.edges, () if away is None else away.edges
        self._labels = [0] * len(reference.labels)
        self._scores = [0] * len(reference.scores.counts)
        self._distances = [0] * (0 if away is None else len(away.counts))

    def add(self, prediction: Prediction) -> None:
        """Count a prediction."""
        self._labels[prediction.index if prediction.known else -1] += 1
        self._scores[bisect_right(self._edges[0], _score(prediction))] += 1
        if self._distances and prediction.distance is not None:
            self._distances[bisect_right(self._edges[1], prediction.distance)] += 1

    def added_to(self, window: Window | None, start: str) -> Window:
        """Return a window with these counts and those of one before."""
        counted = Window(
            start=start,
            labels=tuple(self._labels),
            scores=tuple(self._scores),
            distances=tuple(self._distances),
        )
        return counted if window is None else window.plus(counted)


class _Unsure:
    """The least certain images, as PNG files whose names begin with how certain they are."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._images: list[tuple[float, bytes]] = []  # a heap: the most certain one is the first
        self._below = math.inf  # what an image to keep must be

    def offer(self, prediction: Prediction, image: Pixels) -> None:
        """Keep an image until the next save if it is among the least certain ones."""
        away = prediction.distance
        certain = _score(prediction) if away is None else 1 / (1 + away)
        if certain >= self._below:
            return
        one = (-certain, png_bytes(image))
        if one not in self._images:
            heapq.heappush(self._images, one)
        if len(self._images) > self._most:
            heapq.heappop(self._images)
            self._below = -self._images[0][0]

    def taken(self) -> list[tuple[float, bytes]]:
        """Return the images that were kept since the last save."""
        images, self._images = self._images, []
        return images

    def save(self, images: list[tuple[float, bytes]]) -> None:
        """Write images, and remove all but the least certain ones, those of before included."""
        for negative, content in images:
            name = f"{-negative:.6f}-{hashlib.sha256(content).hexdigest()[:12]}.png"
            files.write_bytes(self._folder / name, content)
        kept = sorted(self._folder.glob("[0-9]*.png"))
        _remove(kept[self._most :])
        full = len(kept) >= self._most
        self._below = float(kept[self._most - 1].name.partition("-")[0]) if full else math.inf


def _score(prediction: Prediction) -> float:
    return 0.0 if math.isnan(prediction.score) else prediction.score


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)

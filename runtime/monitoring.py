"""Count what an artifact predicts in use, by hours, in a folder that several processes may share.

The folder has one for each artifact: artifact.json, its stamp; windows/ with the counts of each
hour (UTC); unsure/ with images that were to be kept. Files are written whole or not at all, under
a lock; a process that is killed loses what it counted in the last minute.
"""

from __future__ import annotations

import hashlib
import logging
import math
import struct
import threading
import time
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hemline import files
from hemline.closing import Closing
from hemline.contract import schema
from hemline.contract.monitoring import Counts
from hemline.errors import HemlineError, NewerSchemaError, UsageError, remedy

if TYPE_CHECKING:
    from hemline.contract.stamp import Stamp
    from hemline.pictures.pixels import Pixels
    from hemline.runtime.decoder import Prediction

log = logging.getLogger(__name__)

ARTIFACT, WINDOWS, UNSURE = "artifact.json", "windows", "unsure"
FILES = "[0-9]*"  # in windows/, without those that are being written
_UNSURE_FILES = f"[01].{6 * '[0-9]'}-*.png"
MOST_WINDOWS = 1000  # six weeks of hours; with ten classes a file has 0.2 kB
_HOUR = 3600  # seconds
_SAVE_SECONDS = 60.0  # what is written wears an SD card out
_LOCK_SECONDS = 10.0
_PNG_COLOURS = (0, 4, 2, 6)  # by channels: gray, with opacity, RGB, with opacity


class Monitor(Closing):
    """The counts of one artifact. Several threads may add to them, one saves them."""

    def __init__(
        self,
        folder: Path,
        stamp: Stamp,
        keep_unsure: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the artifact's folder in `folder`, where up to `keep_unsure` images are kept.

        Raises UsageError for an artifact without a reference, HemlineError for a folder that cannot
        be written.
        """
        if stamp.reference is None:
            reason = f"{stamp.name} has no reference to monitor it against"
            raise UsageError(reason, remedy=remedy("export reference"))
        self.folder = folder / f"{stamp.name}-{stamp.payload_sha256[:8]}"
        self._reference, self._keep_unsure, self._clock = stamp.reference, keep_unsure, clock
        self._counted: dict[float, tuple[list[int], ...]] = {}  # by hour, as Counts has them
        self._unsaved: dict[str, Counts] = {}
        self._unsure: dict[str, bytes] = {}  # PNG by name, which begins with the certainty
        self._certain = math.inf  # images that are no less certain are not kept
        self._lock, self._due = threading.Lock(), time.monotonic() + _SAVE_SECONDS
        with files.locked(self.folder, wait_seconds=_LOCK_SECONDS):
            schema.save(self.folder / ARTIFACT, stamp)

    def add(self, predictions: Sequence[Prediction], images: Iterable[Pixels]) -> None:
        """Count predictions; `images` are what the model received, uint8 (height, width, c)."""
        hour, reference = self._clock() // _HOUR, self._reference
        with self._lock:
            if hour not in self._counted:
                bins = reference.counts
                parts = (bins.labels, bins.scores, bins.distances)
                self._counted[hour] = tuple([0] * len(each) for each in parts)
            labels, scores, distances = self._counted[hour]
            for prediction, image in zip(predictions, images, strict=True):
                away, score = prediction.distance, prediction.score
                score = 0.0 if math.isnan(score) else score
                labels[prediction.index if prediction.known else -1] += 1
                scores[bisect_right(reference.score_edges, score)] += 1
                if away is not None and distances:
                    distances[bisect_right(reference.distance_edges, away)] += 1
                if self._keep_unsure:
                    self._offer(score if away is None else 1 / (1 + away), image)

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
            counted, self._counted = self._counted, {}
            unsure = dict(self._unsure)
        for number, parts in counted.items():
            hour = time.strftime("%Y-%m-%dT%H", time.gmtime(number * _HOUR))
            labels, scores, distances = map(tuple, parts)
            counts = Counts(labels=labels, scores=scores, distances=distances)
            before = self._unsaved.get(hour)
            self._unsaved[hour] = counts if before is None else before.plus(counts)
        with files.locked(self.folder, wait_seconds=_LOCK_SECONDS):
            for hour in sorted(self._unsaved):
                self._save_hour(hour, self._unsaved[hour])
                del self._unsaved[hour]
            _remove(sorted((self.folder / WINDOWS).glob(FILES))[:-MOST_WINDOWS])
            if self._keep_unsure:
                self._save_unsure(unsure)

    def close(self) -> None:
        """Save what was counted."""
        self.save()

    def _save_hour(self, hour: str, counts: Counts) -> None:
        path = self.folder / WINDOWS / f"{hour}.json"
        try:
            counts = schema.load(Counts, path).plus(counts) if path.exists() else counts
        except NewerSchemaError:
            raise
        except (HemlineError, ValueError) as error:
            log.warning("%s is damaged, its counts begin again: %s", path, error)
        schema.save(path, counts)

    def _offer(self, certainty: float, image: Pixels) -> None:
        """Keep an image until the next save if it is among the least certain ones."""
        if certainty < self._certain:
            png = _png(image)
            name = f"{certainty:.6f}-{hashlib.sha256(png).hexdigest()[:12]}.png"
            self._unsure[name] = png
            if len(self._unsure) > self._keep_unsure:
                self._unsure.pop(last := max(self._unsure))
                self._certain = float(last[:8])

    def _save_unsure(self, unsure: dict[str, bytes]) -> None:
        for name, png in unsure.items():
            files.write_bytes(self.folder / UNSURE / name, png)
        kept = sorted((self.folder / UNSURE).glob(_UNSURE_FILES))
        _remove(kept[self._keep_unsure :])
        full = len(kept) >= self._keep_unsure
        with self._lock:
            self._unsure = {name: x for name, x in self._unsure.items() if name not in unsure}
            self._certain = float(kept[self._keep_unsure - 1].name[:8]) if full else math.inf


def _png(image: Pixels) -> bytes:
    """Return a PNG (https://www.w3.org/TR/png) without pillow, which a board need not have."""
    image = image[..., :4]
    height, width, channels = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)  # each behind its filter: none
    head = struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOURS[channels - 1], 0, 0, 0)
    parts = (b"IHDR" + head, b"IDAT" + zlib.compress(rows), b"IEND")
    chunks = [struct.pack(">I", len(x) - 4) + x + struct.pack(">I", zlib.crc32(x)) for x in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)

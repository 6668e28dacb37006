"""The artifacts that are served: each is loaded again when its files change."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from hemline.contract.manifest import read_manifest
from hemline.contract.stamp import Stamp, read_stamped
from hemline.errors import UnstampedError
from hemline.files import read_bytes
from hemline.pictures.pixels import Pixels
from hemline.runtime.backends import version_of
from hemline.runtime.bundle_choice import pick_artifact
from hemline.runtime.classifier import Classifier
from hemline.runtime.discovery import pick_backend
from hemline.runtime.monitoring import Monitor
from hemline.runtime.service.page import page_files
from hemline.runtime.similar.page_images import SimilarImages

_INLINE_SECONDS = 0.002  # the longest that the event loop itself classifies: everyone waits for it
_SERVED = (".tflite", ".onnx", ".json")  # in a bundle, not its records
_CALLS = 5  # of which the fastest says how long one takes
R = TypeVar("R")


class Model:
    """One version of an artifact: a classifier for each worker and one for the event loop.

    name: that it is served by.
    content: of its file, for the page, which stays when the file has gone.
    runtime: its name and version.
    why: in brackets behind its name: which file of a bundle it is, in which runtime.
    similar: images of an index, for the page.
    inline_images: how many raw images the event loop classifies itself; more go to a worker.
    """

    def __init__(self, path: Path, runtime: str | None, workers: int) -> None:
        self.name = path.resolve().name
        self.path, backend = pick_artifact(path, runtime) if path.is_dir() else (path, None)
        file, self.content = read_stamped(self.path), read_bytes(self.path)
        self.stamp, backend = file.stamp, backend or pick_backend(file.stamp, runtime)
        self.runtime = self.why = f"{backend.name} {version_of(backend)}"
        if path.is_dir():
            chosen = read_manifest(path).recommended == self.path.name
            because = "recommended" if chosen else "the smallest that passed"
            self.why = f"{self.path.name}, {self.runtime}: {because}"
        self.monitor: Monitor | None = None
        self.similar: SimilarImages | None = None
        self._idle = list[Classifier]()
        image = np.zeros(file.stamp.input.shape, np.uint8)
        for _ in range(workers + 1):
            classifier = Classifier(file, backend, threads=1)
            classifier.classify(image)  # the first call opens the session
            self._idle.append(classifier)
        seconds = min(_seconds_of(classifier, image) for _ in range(_CALLS))
        self.inline_images = int(_INLINE_SECONDS / seconds)

    @cached_property
    def page(self) -> dict[str, bytes]:
        """Return the files of its page, about 3 MB; raises HTTPException."""
        return page_files(self.content, self.stamp, self.name, self.similar)

    def borrow(self, work: Callable[[Classifier], R]) -> R:
        """Do a piece of work with a classifier that nobody else uses meanwhile."""
        classifier = self._idle.pop()  # the one used last: the processor's cache still holds it
        try:
            return work(classifier)
        finally:
            self._idle.append(classifier)


def _seconds_of(classifier: Classifier, image: Pixels) -> float:
    started = time.perf_counter()
    classifier.classify(image)
    return time.perf_counter() - started


class Served:
    """An artifact under its name, and the version of it that is loaded.

    similar: images of an index, for the page of the artifact that made it.
    monitors: of all versions, by hash, since requests in progress use an old one.
    intact: whether the files that are there now are the ones that are served.
    """

    def __init__(
        self,
        path: Path,
        runtime: str | None,
        workers: int,
        monitor: Callable[[Stamp], Monitor] | None = None,
    ) -> None:
        self.name, self._path, self._open = path.resolve().name, path, monitor
        self._make: Callable[[], Model] = lambda: Model(path, runtime, workers)
        self.similar: SimilarImages | None = None
        self.monitors = dict[str, Monitor]()
        self._state = self._files()
        self.model, self.intact = self._load(), True

    def refresh(self) -> None:
        """Load the files again if they changed; requests in progress keep the old version.

        Files that cannot be served are refused: the log says why, and the old version stays.
        """
        try:
            before, self._state = self._state, self._files()
            if self._state != before:
                self.model, self.intact = self._load(), True
                gc.collect()  # frees the old version, which refers to itself
        except Exception as error:  # noqa: BLE001 — whatever is wrong, the service goes on
            self.intact = False
            if isinstance(error, UnstampedError):
                error = UnstampedError("the file is damaged, or Hemline did not export it")
            logging.getLogger(__name__).warning("%s: the old version stays: %s", self.name, error)

    def _load(self) -> Model:
        model = self._make()
        model.similar = self.similar
        if self._open is not None:
            digest = model.stamp.payload_sha256
            monitor = self.monitors.get(digest) or self._open(model.stamp)
            model.monitor = self.monitors[digest] = monitor
        return model

    def _files(self) -> list[tuple[str, int, int]]:
        files = [self._path]
        if self._path.is_dir():
            shown = self._path.glob("[!.]*")  # without those that are being written
            files = sorted(each for each in shown if each.suffix in _SERVED)
        seen = [(each.name, each.stat()) for each in files if each.exists()]
        return [(name, each.st_mtime_ns, each.st_ino) for name, each in seen]

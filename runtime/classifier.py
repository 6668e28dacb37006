"""The on-device classifier: it only composes sessions, a pixel encoder and a decoder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast, get_args

import numpy as np

from hemline.errors import DataError, UnknownNameError, UsageError, remedy
from hemline.pictures.pixels import Pixels, not_an_image
from hemline.runtime.backends import LOGITS_ONLY, SessionOptions, open_session, require_specs
from hemline.runtime.batch_sessions import BATCHES, BatchSessions
from hemline.runtime.decoder import Decoder, Prediction, real_values
from hemline.runtime.discovery import pick_backend
from hemline.runtime.pixels import PixelEncoder

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import numpy.typing as npt

    from hemline.contract.settings import Settings, TunedSettings
    from hemline.contract.stamp import Stamp, StampedFile
    from hemline.pictures.preprocessing import Preprocess
    from hemline.runtime.backends import Backend, Session, Tensor
    from hemline.runtime.unknown import Distances

MOST_THREADS = 256  # a runtime starts as many as it is asked for, whatever the machine has
_CHUNK = 256  # images that a worker takes at a time: four full batches
R = TypeVar("R")


class Classifier:
    """Classify images with one artifact.

    One classifier may be used by several threads: their calls take turns. To use several cores,
    open it with as many `threads` and give classify_batch many images, or open a classifier for
    each thread; the runtimes compute without holding Python's lock.

    untuned: why it has default settings although tuned ones were asked for; empty otherwise.
    """

    untuned = ""

    def __init__(
        self,
        file: StampedFile,
        backend: Backend,
        *,
        threads: int,
        preprocess: str = "auto",
        settings: Settings | None = None,
    ) -> None:
        """Open a checked artifact in a backend; most callers want Classifier.load.

        Raises UsageError for fewer than 1 or more than 256 threads, UnknownNameError for an unknown
        way to preprocess.
        """
        if not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"threads must be from 1 to {MOST_THREADS}, not {threads}")
        self.stamp: Stamp = file.stamp
        self.backend = backend
        self._model, self._threads, self._settings = file.model, threads, settings
        self._preprocess = _preprocess(file.stamp, preprocess)
        self._encoder = PixelEncoder(file.stamp.input)
        distances = _distances(file.stamp)
        self.decoder = Decoder(
            file.stamp.output,
            file.stamp.labels,
            temperature=file.stamp.temperature,
            unknown_threshold=file.stamp.unknown_threshold,
            distances=distances,
        )
        self._wanted = LOGITS_ONLY if distances is None else (*LOGITS_ONLY, distances.spec.name)
        self._lock = threading.Lock()
        self._sessions = self._sessions_of(threads)
        self._pool: _Pool | None = None
        self._closed = False
        self._run_one = self._sessions.session(1).run

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        runtime: str | None = None,
        preprocess: str = "auto",
        tuned: bool = False,
    ) -> Classifier:
        """Open an artifact in `runtime`, or in the first installed runtime that it supports.

        Given the folder of a bundle, it opens the artifact that the manifest recommends, else the
        smallest that passed in this version of the runtime. Raises FileFormatError for an unstamped
        or altered file, UnsupportedRuntimeError for a runtime that the file does not support and
        BackendError when no backend for it works.

        `preprocess` says how image files of another size become the model's: as the artifact says
        (auto), by stretch or product-photo (pictures/preprocessing.py), or not at all (none).

        `tuned` applies the settings that the manifest.json beside the artifact has for this kind of
        processor, and their number of threads unless `threads` is given; without any it warns.
        """
        from hemline.contract.stamp import read_stamped  # here, to keep the import of this fast

        where = Path(path)
        if where.is_dir():
            # here, because a device may have single files only
            from hemline.runtime.bundle_choice import pick_artifact

            where, backend = pick_artifact(where, runtime)
            file = read_stamped(where)
        else:
            file = read_stamped(where)
            backend = pick_backend(file.stamp, runtime)

        def open_with(found: TunedSettings | None) -> Classifier:
            return cls(
                file,
                backend,
                threads=(1 if found is None else found.threads) if threads is None else threads,
                preprocess=preprocess,
                settings=None if found is None else found.settings,
            )

        if not tuned:
            return open_with(None)
        from hemline.runtime.tuned import open_tuned

        classifier, why = open_tuned(where, backend, open_with)
        classifier.untuned = why
        return classifier

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the class names in the order of their indices."""
        return self.stamp.labels

    def prepare(self, image: Pixels | str | os.PathLike[str]) -> Pixels:
        """Return the uint8 (height, width, channels) pixels that the model sees of an image.

        An array (h, w[, 1, 3 or 4]) or a file of any size is converted by the way to preprocess;
        one of the model's size stays as it is. Raises DataError.
        """
        if not isinstance(image, np.ndarray):
            return self._pixels(image)
        from hemline.pictures.preprocessing import model_pixels

        return model_pixels(image, self.stamp.input, self._preprocess)

    def classify(self, image: Pixels | str | os.PathLike[str]) -> Prediction:
        """Classify a uint8 image (height, width[, channels]) or an image file.

        Files are converted as `prepare` does; an array must fit. Raises DataError for an image that
        does not fit.
        """
        if not isinstance(image, np.ndarray):
            image = self._pixels(image)
        with self._lock:
            outputs = self._run_one(self._encoder.encode_one(image), self._wanted)
            return self.decoder.decode(outputs[0][0], outputs[-1][0])

    def classify_batch(
        self, images: Pixels | Sequence[Pixels | str | os.PathLike[str]]
    ) -> list[Prediction]:
        """Classify uint8 images (n, height, width[, channels]), or a list of arrays and files.

        With more than one thread, each works on images of its own in a session of its own: that was
        measured faster than one session with all the threads, in every runtime.
        """
        if not isinstance(images, np.ndarray):
            if len(images) == 0:
                return []
            images = np.concatenate([self._encoder.as_batch(self._pixels(x)) for x in images])
        # decoded where they were computed: one thread decodes while another computes
        parts = self._each(
            images,
            lambda sessions, part: self.decoder.decode_batch(*sessions.run(part, self._wanted)),
        )
        return [prediction for part in parts for prediction in part]

    def logits(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Return float32 logits (n, classes) of uint8 images (n, height, width[, channels])."""
        return self.outputs(images, LOGITS_ONLY)[LOGITS_ONLY[0]]

    def scores(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Return float32 probabilities (n, classes) of uint8 images (n, height, width[, channels]).

        The temperature that was fitted on validation is applied; each row sums to 1.
        """
        return self.decoder.softmax(self.logits(images))

    def embed(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Return float32 embeddings (n, size) of uint8 images (n, height, width[, channels]).

        Raises UsageError when the file was exported without.
        """
        spec = self.stamp.embedding
        if spec is None:
            raise UsageError(
                f"{self.stamp.name} has no embedding", remedy=remedy("export with embedding")
            )
        return self.outputs(images, (spec.name,))[spec.name]

    def outputs(self, images: Pixels, names: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Return float32 outputs (n, …) by name, all of one pass over uint8 images (n, h, w[, c]).

        Raises UnknownNameError for a name that the file does not have.
        """
        specs = self.stamp.find_outputs(names)
        parts = self._each(images, lambda sessions, part: sessions.run(part, names))
        if not parts:
            return {spec.name: np.empty((0, spec.size), np.float32) for spec in specs}
        stored = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return {s.name: real_values(s, each) for s, each in zip(specs, stored, strict=True)}

    def close(self) -> None:
        """Free the model; the classifier cannot be used afterwards."""
        with self._lock:
            self._closed = True
            self._sessions.close()
            if self._pool is not None:
                self._pool.close()
                self._pool = None
            # from now on a call ends in the clear error of _open
            self._run_one = self._sessions.run

    # these two by hand: Closing is a module more to import before the first label
    def __enter__(self) -> Classifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _each(self, images: Pixels, work: Callable[[BatchSessions, Tensor], R]) -> list[R]:
        """Do a piece of work with the tensor of every chunk of images; return the results."""
        images = self._encoder.as_images(images)
        chunks = [images[at : at + _CHUNK] for at in range(0, len(images), _CHUNK)]

        def one(sessions: BatchSessions, chunk: Pixels) -> R:
            return work(sessions, self._encoder.encode(chunk))

        with self._lock:
            if self._threads == 1 or len(chunks) <= 1:
                return [one(self._sessions, chunk) for chunk in chunks]
            if self._pool is None:
                self._pool = _Pool(self._threads, lambda: self._sessions_of(1))
            return self._pool.map(one, chunks)

    def _sessions_of(self, threads: int) -> BatchSessions:
        batches = BATCHES if self.stamp.takes_batches else (1,)
        return BatchSessions(lambda batch: self._open(batch, threads), batches)

    def _open(self, batch: int, threads: int) -> Session:
        if self._closed:
            raise UsageError(f"this classifier of {self.stamp.name} is closed: load it again")
        outputs = self.stamp.outputs
        options = SessionOptions(outputs, threads, batch, settings=self._settings)
        session = open_session(self.backend, self._model, options)
        require_specs(session, self.stamp.input, outputs)
        return session

    def _pixels(self, image: object) -> Pixels:
        if isinstance(image, np.ndarray):
            return image
        if isinstance(image, str | os.PathLike):
            from hemline.pictures.images import read_image

            return read_image(Path(image), self.stamp.input, self._preprocess)
        raise DataError(not_an_image(image, "a uint8 array or a path"))


def _distances(stamp: Stamp) -> Distances | None:
    if stamp.distance is None or stamp.embedding is None:
        return None
    from hemline.runtime.unknown import Distances  # here, because few files have one

    return Distances(stamp.distance, stamp.embedding)


def _preprocess(stamp: Stamp, way: str) -> Preprocess:
    """Return how to preprocess; `way` may be auto: as the stamp says."""
    from hemline.contract.specs import Preprocessing  # here, to keep the import of this fast

    known = ("auto", "none", *get_args(Preprocessing))  # none: another size is an error
    if way not in known:
        raise UnknownNameError("preprocessing", way, known)
    return cast("Preprocess", stamp.preprocessing if way == "auto" else way)


class _Pool:
    """Threads that each borrow sessions for a piece of work."""

    def __init__(self, threads: int, make: Callable[[], BatchSessions]) -> None:
        # here, because one thread needs neither
        import queue
        from concurrent.futures import ThreadPoolExecutor

        self._all = [make() for _ in range(threads)]
        self._free: queue.SimpleQueue[BatchSessions] = queue.SimpleQueue()
        for sessions in self._all:
            self._free.put(sessions)
        self._executor: ThreadPoolExecutor = ThreadPoolExecutor(threads)

    def map(self, work: Callable[[BatchSessions, Pixels], R], parts: list[Pixels]) -> list[R]:
        """Return the results in the order of the parts."""

        def borrow(part: Pixels) -> R:
            sessions = self._free.get()
            try:
                return work(sessions, part)
            finally:
                self._free.put(sessions)

        return list(self._executor.map(borrow, parts))

    def close(self) -> None:
        """End the threads and free their models."""
        self._executor.shutdown()
        for sessions in self._all:
            sessions.close()

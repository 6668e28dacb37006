"""The on-device classifier: it only composes a session, a pixel encoder and a decoder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from hemline.errors import BackendError, ClaimError, DataError, UsageError
from hemline.runtime.backends import (
    BACKENDS,
    Backend,
    Session,
    Tensor,
    find_backend,
    installed,
    open_session,
    require_specs,
    version_of,
)
from hemline.runtime.decoder import Decoder, Prediction
from hemline.runtime.pixels import PixelEncoder, Pixels
from hemline.stamp import Stamp, StampedFile, read_stamped

MOST_THREADS = 256  # a runtime starts as many as it is told to, whatever the machine has
_BATCH = 64  # large enough to spread the cost of a call, small enough for a device's memory


class Classifier:
    """Classify images with one artifact. Use one per thread: a session runs one batch at a time."""

    def __init__(self, file: StampedFile, backend: Backend, *, threads: int) -> None:
        """Open a checked artifact in a backend; most callers want Classifier.load.

        Raises UsageError for fewer than 1 or more than 256 threads.
        """
        if not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"threads must be from 1 to {MOST_THREADS}, not {threads}")
        self.stamp: Stamp = file.stamp
        self.backend = backend
        self._model, self._threads = file.model, threads
        self._encoder = PixelEncoder(file.stamp.input)
        self._decoder = Decoder(
            file.stamp.output,
            file.stamp.labels,
            temperature=file.stamp.temperature,
            unknown_threshold=file.stamp.unknown_threshold,
        )
        self._sessions: dict[int, Session] = {}
        self._closed = False
        self._run_one = self._session(1).run

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, threads: int = 1, runtime: str | None = None
    ) -> Classifier:
        """Open an artifact in `runtime`, or in the first installed runtime that it claims.

        Raises FileFormatError for an unstamped or altered file, ClaimError outside its claim and
        BackendError when no backend for it works.
        """
        file = read_stamped(Path(path))
        return cls(file, pick_backend(file.stamp, runtime), threads=threads)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the class names in the order of their indices."""
        return self.stamp.labels

    def classify(self, image: Pixels | str | os.PathLike[str]) -> Prediction:
        """Classify a uint8 image (height, width[, channels]) or an image file.

        Raises DataError for an image that does not fit.
        """
        if not isinstance(image, np.ndarray):
            image = self._pixels(image)
        return self._decoder.decode(self._run_one(self._encoder.encode_one(image))[0])

    def classify_batch(self, images: Pixels | Sequence[str | os.PathLike[str]]) -> list[Prediction]:
        """Classify uint8 images (n, height, width[, channels]) or a list of image files."""
        if not isinstance(images, np.ndarray):
            if len(images) == 0:
                return []
            images = np.concatenate([self._encoder.as_batch(self._pixels(x)) for x in images])
        return [self._decoder.decode(row) for row in self._outputs(images)]

    def logits(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Return float32 logits (n, classes) of uint8 images (n, height, width[, channels])."""
        return self._decoder.logits(self._outputs(images))

    def close(self) -> None:
        """Free the model; the classifier cannot be used afterwards."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._closed = True
        # from now on a call ends in the clear error of _session
        self._run_one = lambda tensor: self._session(1).run(tensor)

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _outputs(self, images: Pixels) -> Tensor:
        """Return the raw outputs (n, classes) of images, run in batches."""
        if isinstance(images, np.ndarray) and len(images) == 0:
            return np.empty((0, len(self.labels)), self.stamp.output.dtype)
        tensor = self._encoder.encode(images)
        batch = min(len(tensor), _BATCH)
        parts = range(0, len(tensor), batch)
        return np.concatenate([self._run_padded(tensor[at : at + batch], batch) for at in parts])

    def _run_padded(self, tensor: Tensor, batch: int) -> Tensor:
        count = len(tensor)
        if count < batch:
            padding = np.zeros((batch - count, *tensor.shape[1:]), tensor.dtype)
            tensor = np.concatenate([tensor, padding])
        return self._session(batch).run(tensor)[:count]

    def _session(self, batch: int) -> Session:
        if batch not in self._sessions:
            if self._closed:
                raise UsageError(f"this classifier of {self.stamp.name} was closed: load it again")
            session = open_session(self.backend, self._model, threads=self._threads, batch=batch)
            require_specs(session, self.stamp.input, self.stamp.output)
            self._sessions[batch] = session
        return self._sessions[batch]

    def _pixels(self, image: Pixels | str | os.PathLike[str]) -> Pixels:
        if isinstance(image, (str, os.PathLike)):
            from hemline.runtime.images import read_image

            pixels = read_image(Path(image), self.stamp.input)
            try:
                checked: Pixels = self._encoder.as_batch(pixels)[0]
            except DataError as error:
                raise DataError(f"{image}: {error}") from error
            return checked
        if image is None:
            raise DataError("an image is a uint8 array or a path, not None")
        return image


def pick_backend(stamp: Stamp, runtime: str | None) -> Backend:
    """Return the backend to open a stamped file in.

    Raises ClaimError for a runtime outside the claim, BackendError when none is installed.
    """
    if runtime is not None:
        backend = find_backend(runtime)
        if backend.format != stamp.format:
            raise ClaimError(f"{stamp.name} is a .{stamp.format} file: {runtime} cannot open it")
        stamp.require_claim(backend.name, version_of(backend))
        return backend
    fitting = [backend for backend in BACKENDS.values() if backend.format == stamp.format]
    here = [backend for backend in fitting if installed(backend)]
    for backend in here:
        version = version_of(backend)
        if any(claim.admits(backend.name, version) for claim in stamp.claims):
            return backend
    if here:
        stamp.require_claim(here[0].name, version_of(here[0]))
    extras = " or ".join(f"'hemline[{backend.extra}]'" for backend in fitting)
    raise BackendError(f"no runtime for {stamp.name} is installed: pip install {extras}")

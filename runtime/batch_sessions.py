"""The sessions of one worker: one for each batch size in use, and all of a tensor through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hemline.runtime.backends import LOGITS_ONLY, Session, Tensor

# A batch is cut into the largest of these that fit: few sessions, and no padding is computed. More
# than 64 images at once gain nothing in any runtime that was measured, and cost memory.
BATCHES = (64, 8, 1)


class BatchSessions:
    """Sessions of one model by batch size, that one thread at a time may use."""

    def __init__(
        self, open_batch: Callable[[int], Session], batches: tuple[int, ...] = BATCHES
    ) -> None:
        """`open_batch` opens a session for a number of images; it is called when one is needed.

        `batches` are the numbers to use, from the largest to 1.
        """
        self._open, self._sessions = open_batch, dict[int, Session]()
        self._batches = batches

    def session(self, batch: int) -> Session:
        """Return the session of a batch size, opened if need be."""
        if batch not in self._sessions:
            self._sessions[batch] = self._open(batch)
        return self._sessions[batch]

    def run(self, tensor: Tensor, names: Sequence[str] = LOGITS_ONLY) -> list[Tensor]:
        """Return the raw outputs (n, …) of a tensor (n, height, width, channels), n ≥ 1."""
        parts, at = [], 0
        for batch in self._batches:
            while len(tensor) - at >= batch:
                parts.append(self.session(batch).run(tensor[at : at + batch], names))
                at += batch
        if len(parts) == 1:
            return list(parts[0])
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def close(self) -> None:
        """Free the models."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

"""Hold a file's embedding to its source's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hemline.contract.stamp import StampedFile
from hemline.errors import HemlineError
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS


def opened(file: StampedFile) -> Classifier:
    """Open a file in the preferred runtime of its format."""
    backend = next(row for row in BACKENDS.values() if row.format == file.stamp.format)
    return Classifier(file, backend, threads=1)


def require_embedding(
    file: StampedFile,
    images: npt.NDArray[np.uint8],
    expected: npt.NDArray[np.float32],
    *,
    share: float,
) -> None:
    """Raise HemlineError unless a file embeds uint8 images (n, h, w, c) as expected (n, size).

    share: root mean square of the differences, as a share of that of the expected values: rounding
    can move single values, such as those that a ReLU6 limits, over half their range. One runtime is
    enough: logits are computed from the embedding, so that verification of the logits in every
    runtime checks its values; what could be wrong here is which output it is, and its scale.
    """
    with opened(file) as classifier:
        found = classifier.embed(images)
    if found.shape != expected.shape:
        raise HemlineError(
            f"{file.stamp.name} returns embeddings of {found.shape[1]} values, the source model "
            f"of {expected.shape[1]}: please report this"
        )
    difference, allowed = _rms(found - expected), share * _rms(expected)
    if not difference <= allowed:
        raise HemlineError(
            f"the embedding of {file.stamp.name} differs from the source model's by "
            f"{difference:.3g} (root mean square; tolerance {allowed:.3g}): please report this"
        )


def _rms(values: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))

"""How far the embedding of an image may be from the classes before the image is "unknown".

Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples (2018), sec. 2.1:
the Mahalanobis distance to the nearest class mean, with one covariance for all classes. Of an
embedding with many values, only the directions with the most variance have variances of their own;
the others share one (Tipping and Bishop, Probabilistic Principal Component Analysis, 1999).
"""

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from hemline.contract.frozen import dataclass
from hemline.contract.specs import OutputSpec

if TYPE_CHECKING:
    import numpy.typing as npt

Method = Literal["score", "distance"]  # by which a file decides what is "unknown"
METHODS: tuple[Method, ...] = ("score", "distance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Rows:
    """A matrix in 8 bits: each row has a scale of its own.

    values: base64 of int8 (rows, columns), row-major.
    scales: real value of one step, of each row.
    """

    values: str
    scales: tuple[float, ...]

    @classmethod
    def of(cls, matrix: "npt.NDArray[np.float64]") -> "Int8Rows":
        """Round a float matrix (rows, columns)."""
        import base64

        largest = np.abs(matrix).max(axis=1)
        scales = [float(f"{each:.6g}") or 1.0 for each in largest / 127]
        steps = np.clip(np.rint(matrix / np.asarray(scales)[:, None]), -127, 127)
        packed = base64.b64encode(steps.astype(np.int8).tobytes()).decode()
        return cls(values=packed, scales=tuple(scales))

    def array(self) -> "npt.NDArray[np.float32]":
        """Return the float32 matrix (rows, columns); raises ValueError for damaged ones."""
        import base64  # here, because few files have any

        steps = np.frombuffer(base64.b64decode(self.values, validate=True), np.int8)
        rows = steps.reshape(len(self.scales), -1).astype(np.float32)
        return np.asarray(rows * np.asarray(self.scales, np.float32)[:, None], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassDistance:
    """The distance of an embedding x to the nearest class, and the largest of a known image.

    With z = directions · (x − mean), the squared distance is the least |z − center|² over the
    classes, plus (|x − mean|² − Σ variances · z²) ÷ rest for what the directions leave out.

    threshold: largest distance of a prediction that is not "unknown".
    mean: of the embeddings, one row.
    directions: rows of as many values as an embedding; along each, embeddings of a class have
        variance 1.
    variances: of embeddings of a class along each direction, before that.
    centers: a row for each direction, a value for each class.
    rest: variance of embeddings in all other directions; 0 where there are none.
    """

    threshold: float
    mean: Int8Rows
    directions: Int8Rows
    variances: tuple[float, ...]
    centers: Int8Rows
    rest: float

    def require_fit(self, embedding: OutputSpec | None, classes: int) -> None:
        """Raise ValueError unless it is for an embedding like this and as many classes."""
        if embedding is None:
            raise ValueError("a distance needs an embedding")
        count, size = len(self.variances), embedding.size
        shapes = [each.array().shape for each in (self.mean, self.directions, self.centers)]
        if shapes != [(1, size), (count, size), (count, classes)]:
            raise ValueError(f"the distance is not for {classes} classes and {size} values")
        if not (0 < self.threshold < math.inf and 0 <= self.rest < math.inf):
            raise ValueError("the threshold of a distance must be positive")

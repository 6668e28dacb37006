"""What a source returned in its own runtime, and how near an imported model comes to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from hemline.errors import FileFormatError
from hemline.export.pixel_scale import PixelScale

Values = npt.NDArray[np.float32]

# Two float32 runtimes sum in different orders: a logit is off by about 1e-6 of the largest one. A
# probability moves by at most half of what a logit does (the slope of a softmax is ¼ for each of
# two logits), so logits of 20 explain 1e-5.
LARGEST_DIFFERENCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Inputs and outputs of a source.

    inputs: float32 in the source's own layout, (n, …).
    outputs: float32 (n, values).
    """

    inputs: Values
    outputs: Values

    @classmethod
    def read(cls, path: Path) -> Reference:
        """Read the arrays `inputs` and `outputs` of an .npz that a converter wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(inputs=arrays["inputs"], outputs=arrays["outputs"])

    def pixels(self, scale: PixelScale, *, channels_first: bool) -> Values:
        """Return the inputs as float32 pixels (n, height, width, channels) of a scale."""
        images = self.inputs
        if channels_first:
            images = np.moveaxis(images, 1, -1)
        if images.ndim == 3:
            images = images[..., np.newaxis]
        return scale.pixels(images)

    def largest_difference(self, logits: Values) -> float:
        """Return the largest difference of a probability from logits (n, classes) of a model.

        A source may return logits or probabilities, and one value for two classes: what fits best
        is what it returns.
        """
        found = softmax(logits.astype(np.float64), axis=1)
        return min(float(np.abs(found - each).max()) for each in self._readings())

    def _readings(self) -> list[npt.NDArray[np.float64]]:
        values = self.outputs.astype(np.float64).reshape(len(self.outputs), -1)
        if values.shape[1] == 1:
            # not the logistic function of scipy: exp of a large negative number is 0 here
            both = np.concatenate([np.zeros_like(values), values], axis=1)
            readings = [softmax(both, axis=1)]
            pairs = np.concatenate([1 - values, values], axis=1)
        else:
            readings, pairs = [softmax(values, axis=1)], values
        if pairs.min() >= 0 and np.abs(pairs.sum(axis=1) - 1).max() < 1e-3:
            readings.append(pairs)
        return readings


def require_agreement(difference: float, name: str) -> None:
    """Raise FileFormatError when a model is further from its source than rounding explains."""
    if not difference <= LARGEST_DIFFERENCE:
        raise FileFormatError(
            f"{name} cannot be imported: after conversion its probabilities differ by "
            f"{difference:.2g} from those in its own runtime (at most {LARGEST_DIFFERENCE:g})"
        )

"""What a planner is given: a function from `Planning` to `Quantized`, named in a scheme's row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.contract.card import Card, Split
from hemline.data.datasets import Images
from hemline.data.image_rows import ImageRows, selected
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.options import QuantizationOptions
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.source import ModelSource

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """Everything that a planner may read.

    A planner raises NotNeededError where its file would bring nothing, another HemlineError where
    it cannot be made.

    source: the open model.
    card: of its checkpoint.
    images: of its data set; split says which were trained on.
    calibration: images for ranges; None without data.
    options: of the user.
    int8: what plain calibration gives.
    work: folder for what a stopped planner goes on from; removed when the file is made.
    say: reports progress, a line at a time.
    """

    source: ModelSource
    card: Card
    images: Images
    split: Split
    calibration: Calibration | None
    options: QuantizationOptions
    int8: Quantized
    work: Path
    say: Callable[[str], None]

    @property
    def validation(self) -> tuple[ImageRows, Labels | None]:
        """Return the images that were held out, and their labels; for all choices."""
        indices = np.asarray(self.split.validation_indices, np.intp)
        labels = self.images.train_labels[indices] if self.images.labelled else None
        return selected(self.images.train_images, indices), labels

"""What was counted when one model was trained alike on several data sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hemline.contract.card import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRun:
    """One training on one data set, and its answers on all test images.

    dataset: name in the DATASETS table.
    labels: class names.
    data_sha256: file name to hash of the decompressed bytes.
    verified: whether every file is the official one.
    seed: of weights, order and augmentation.
    train_images: number of images that it was trained on, without those for validation.
    validation_images, validation_correct: number of images kept apart, and of right answers there.
    confusion: number of test images of a class (row) that were taken for a class (column).
    epochs: that were trained.
    training_seconds: wall time.
    precision: float32 or mixed_bfloat16.
    checkpoint_sha256: of checkpoint.keras.
    host: processor and cores that trained it.
    """

    dataset: str
    labels: tuple[str, ...]
    data_sha256: dict[str, str]
    verified: bool
    seed: int
    train_images: int
    validation_images: int
    validation_correct: int
    confusion: tuple[tuple[int, ...], ...]
    epochs: int
    training_seconds: float
    precision: str
    checkpoint_sha256: str
    host: str

    def __post_init__(self) -> None:
        count = len(self.labels)
        if len(self.confusion) != count or any(len(row) != count for row in self.confusion):
            raise ValueError("confusion must have a row and a column for each label")
        if min(min(row) for row in self.confusion) < 0 or min(map(sum, self.confusion)) < 1:
            raise ValueError("confusion must count images of every class")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetComparison:
    """The same model and recipe on several data sets.

    model: name in the MODELS table.
    parameters, macs: scalars that inference needs, multiply-accumulates of one inference.
    recipe: what the recipe is called.
    recipe_fields: every field of it as trained.
    without_flips: whether flips were taken out of the recipe, because an image of one of the data
        sets becomes another one by them.
    runs: of one data set after the other, each with the same seeds.
    versions: of packages.
    commit: of Hemline; None outside a checkout.
    created: UTC time.
    """

    KIND: ClassVar[str] = "dataset comparison"
    SCHEMA: ClassVar[int] = 1

    model: str
    parameters: int
    macs: int
    recipe: str
    recipe_fields: dict[str, Scalar]
    without_flips: bool
    runs: tuple[DatasetRun, ...]
    versions: dict[str, str]
    commit: str | None
    created: str

    def __post_init__(self) -> None:
        seeds = {tuple(run.seed for run in self.runs if run.dataset == name) for name in self.names}
        if len(self.names) < 2 or len(seeds) > 1:
            raise ValueError("runs must be of two data sets or more, with the same seeds of each")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the data sets, in the order of the runs."""
        return tuple(dict.fromkeys(run.dataset for run in self.runs))

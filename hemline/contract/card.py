"""The card of a checkpoint: what was trained, on what, how, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hemline.contract.schema import added
from hemline.contract.specs import Preprocessing
from hemline.contract.test_vector import TestVector

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which training images were held out for validation.

    seed: of the stratified draw.
    limit: only the first so many training images were used; None for all.
    validation_indices: positions in the training file, ascending; all others (below the limit)
        were trained on.
    validation_sha256: of the validation pixels in that order, so that overlap is seen by content.
    test_indices: of a custom data set without a test part: positions among all its images, in
        the order of their hashes, split off for test, ascending; the others are the training
        file that validation_indices tells of.
    """

    seed: int
    limit: int | None
    validation_indices: tuple[int, ...]
    validation_sha256: str
    test_indices: tuple[int, ...] = added(())

    def __post_init__(self) -> None:
        for name in ("validation_indices", "test_indices"):
            indices = getattr(self, name)
            if list(indices) != sorted({index for index in indices if index >= 0}):
                raise ValueError(f"{name} must ascend from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Correct answers on one split: accuracy is correct ÷ images.

    split: validation or test.
    images: number of images.
    correct: number labelled right.
    """

    split: str
    images: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.images or self.images < 1:
            raise ValueError(f"{self.correct} of {self.images} images right is no score")

    @property
    def accuracy(self) -> float:
        """Return the share of right answers, 0 … 1."""
        return self.correct / self.images


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One line of the training history.

    epoch: counted from 1.
    seconds: wall time of the epoch.
    learning_rate: at its end.
    loss: mean training loss (with label smoothing).
    accuracy: on the augmented training images, 0 … 1.
    validation_loss: cross-entropy of the weights that would be kept now.
    validation_accuracy: likewise, 0 … 1.
    """

    epoch: int
    seconds: float
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What stands beside a checkpoint as card.json.

    model: name in the MODELS table.
    parameters: trainable and other weights that inference needs, number of scalars.
    macs: multiply-accumulates of one inference.
    labels: class names in the order of the logits.
    height, width, channels: of the input image, pixels and values per pixel.
    dataset: name in the DATASETS table, or of a custom data set.
    data_sha256: file name to SHA-256 of its decompressed bytes; of a custom data set, train and
        test to the SHA-256 of shape, pixels and classes.
    split: which images were held out.
    recipe: name of the recipe.
    recipe_fields: every field of the recipe as trained.
    seed: of weights, shuffling and augmentation.
    precision: policy really used (float32 or mixed_bfloat16).
    scores: accuracy counts, one for each split.
    history: one entry for each epoch.
    training_seconds: wall time from reading the data to the evaluated checkpoint.
    temperature: divides the logits before softmax; fitted on validation.
    unknown_threshold: highest score under which an answer is "unknown"; fitted on validation.
    test_vectors: images with the model's logits.
    checkpoint_sha256: of checkpoint.keras.
    versions: package name to version.
    host: processor model and logical cores, as text.
    created: UTC time, ISO 8601.
    preprocessing: how an image of another size becomes one like those of the data set.
    teachers: SHA-256 of the checkpoints whose answers it learned from too.
    pretrained_sha256: of the file of weights that training began with; empty for random ones.
    kept_epoch: the epoch whose weights these are; 0 for the last one.
    """

    KIND: ClassVar[str] = "card"
    SCHEMA: ClassVar[int] = 2

    model: str
    parameters: int
    macs: int
    labels: tuple[str, ...]
    height: int
    width: int
    channels: int
    dataset: str
    data_sha256: dict[str, str]
    split: Split
    recipe: str
    recipe_fields: dict[str, Scalar]
    seed: int
    precision: str
    scores: tuple[Score, ...]
    history: tuple[Epoch, ...]
    training_seconds: float
    temperature: float
    unknown_threshold: float
    test_vectors: tuple[TestVector, ...]
    checkpoint_sha256: str
    versions: dict[str, str]
    host: str
    created: str
    preprocessing: Preprocessing = added("stretch")
    teachers: tuple[str, ...] = added(())
    pretrained_sha256: str = added("")
    kept_epoch: int = added(0)

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError("temperature must be positive")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must differ from each other")
        if missing := {"validation", "test"} - {score.split for score in self.scores}:
            raise ValueError(f"it has no score of {' and '.join(sorted(missing))}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (height, width, channels)."""
        return (self.height, self.width, self.channels)

    def score(self, split: str) -> Score:
        """Return the counts of one split; raises KeyError when it was not evaluated."""
        for score in self.scores:
            if score.split == split:
                return score
        raise KeyError(split)

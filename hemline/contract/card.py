"""The card of a checkpoint: what the model is, and how it was trained or where it is from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hemline.contract.schema import added
from hemline.contract.score import Score
from hemline.contract.specs import InputSpec, Preprocessing
from hemline.contract.test_vector import TestVector
from hemline.errors import FileFormatError

Scalar = str | int | float | bool | None
# who confirmed a fact of an imported model: the user, the file, labelled images, or nobody
Confirmation = Literal["user", "file", "images", "nobody"]


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
class ModelCard:
    """What every model has, wherever it comes from.

    name: in the MODELS table; of an imported model, its file's name without the ending.
    source: kind of the model, a name in the SOURCES table of export.
    file: name of the model's file beside the card.
    sha256: of that file.
    parameters: trainable and other weights that inference needs, number of scalars.
    macs: multiply-accumulates of one inference.
    labels: class names in the order of the logits.
    input: how pixels become its input tensor.
    preprocessing: how an image of another size becomes one like those of the data set.
    temperature: divides the logits before softmax; fitted on validation.
    unknown_threshold: highest score under which a prediction is "unknown"; fitted on validation.
    test_vectors: images with the model's logits.
    versions: package name to version.
    commit: of Hemline, with "+" when files were changed; None outside a checkout.
    host: processor model and logical cores, as text.
    created: UTC time, ISO 8601.
    """

    name: str
    source: str
    file: str
    sha256: str
    parameters: int
    macs: int
    labels: tuple[str, ...]
    input: InputSpec
    preprocessing: Preprocessing = added("stretch")
    temperature: float
    unknown_threshold: float
    test_vectors: tuple[TestVector, ...]
    versions: dict[str, str]
    commit: str | None = added(None)
    host: str
    created: str

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError("temperature must be positive")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be unique")
        if "/" in self.file or self.file.startswith("."):
            raise ValueError(f"file {self.file!r} is not beside the card")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (height, width, channels) of the input."""
        return self.input.shape


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCard:
    """How a model was trained here, on what, and how well it does.

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
    seconds: wall time from reading the data to the evaluated checkpoint.
    teachers: SHA-256 of the checkpoints that it was distilled from.
    pretrained_sha256: of the file of weights that training began with; empty for random ones.
    kept_epoch: the epoch whose weights these are; 0 for the last one.
    """

    dataset: str
    data_sha256: dict[str, str]
    split: Split
    recipe: str
    recipe_fields: dict[str, Scalar]
    seed: int
    precision: str
    scores: tuple[Score, ...]
    history: tuple[Epoch, ...]
    seconds: float
    teachers: tuple[str, ...] = added(())
    pretrained_sha256: str = added("")
    kept_epoch: int = added(0)

    def __post_init__(self) -> None:
        if missing := {"validation", "test"} - {score.split for score in self.scores}:
            raise ValueError(f"it has no accuracy for {' and '.join(sorted(missing))}")

    def score(self, split: str) -> Score:
        """Return the counts of one split; raises KeyError when it was not evaluated."""
        for score in self.scores:
            if score.split == split:
                return score
        raise KeyError(split)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCard:
    """Where an imported model is from, and what is known of its pixels and classes.

    kind: of the source, a name in the IMPORTERS table of export.
    file: name of the source's file or folder.
    sha256: of the file; of a folder, of the names and contents of its files.
    options_sha256: of the options that it was imported with; other ones need a new import.
    mean: subtracted from a pixel 0 … 255 in the source, one value or one for each channel.
    std: divides the difference, likewise.
    bgr: whether the source takes blue, green and red in this order.
    pixels_confirmed: who confirmed mean and std.
    channels_confirmed: who confirmed the order of the channels.
    labels_confirmed: who confirmed names and order of the classes.
    images_sha256: hash of the labelled images that were to confirm them; empty without any.
    reference_images: number of inputs that the model was compared with its source on.
    largest_difference: of a probability there.
    versions: package name to version, of the source's runtime and of the converters.
    """

    kind: str
    file: str
    sha256: str
    options_sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = added(False)
    pixels_confirmed: Confirmation
    channels_confirmed: Confirmation
    labels_confirmed: Confirmation
    images_sha256: str
    reference_images: int
    largest_difference: float
    versions: dict[str, str]

    @property
    def proven(self) -> bool:
        """Return whether labelled images, or the file itself, confirm pixels and labels."""
        facts = (self.pixels_confirmed, self.channels_confirmed, self.labels_confirmed)
        return all(each in ("file", "images") for each in facts)

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Return what nobody confirmed, in words."""
        facts = {
            "pixel range": self.pixels_confirmed,
            "channel order": self.channels_confirmed,
            "order of the labels": self.labels_confirmed,
        }
        return tuple(name for name, confirmed in facts.items() if confirmed == "nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The parts of a checkpoint's card.json.

    model: what every model has.
    training: how it was trained; None for a model that was not trained here.
    imported: where it is from; None for a model that was not imported.
    """

    KIND: ClassVar[str] = "card"
    SCHEMA: ClassVar[int] = 5

    model: ModelCard
    training: TrainingCard | None
    imported: ImportCard | None = added(None)

    @property
    def trained(self) -> TrainingCard:
        """Return the training part; raises FileFormatError where there is none."""
        if self.training is None:
            raise FileFormatError(
                f"{self.model.name} was not trained by Hemline: it has no training card"
            )
        return self.training

    @staticmethod
    def upgraded(document: dict[str, Any], schema: int) -> dict[str, Any]:
        """Bring a card of schema 1 or 2, which had one part, to this one."""
        if schema >= 3:
            return document
        renamed = {"model": "name", "checkpoint_sha256": "sha256", "training_seconds": "seconds"}
        fields = {renamed.get(name, name): value for name, value in document.items()}
        del fields["kind"], fields["schema"]
        of_training = {field.name for field in dataclasses.fields(TrainingCard)}
        training = {name: fields.pop(name) for name in list(fields) if name in of_training}
        shape = {name: fields.pop(name) for name in ("height", "width", "channels")}
        # the pixels as they are, in float32
        pixels = {
            **shape,
            "dtype": "float32",
            "scale": 1.0,
            "zero_point": 0,
            "mean": 0.0,
            "std": 1.0,
        }
        model = {"source": "keras", "file": "checkpoint.keras", "input": pixels, **fields}
        return {"kind": "card", "schema": 3, "model": model, "training": training}

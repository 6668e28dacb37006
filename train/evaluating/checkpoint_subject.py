"""A checkpoint, run by Keras in this process."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hemline.contract.card import Card
from hemline.data.datasets import Images, array_sha256
from hemline.errors import DataError, FileFormatError
from hemline.train.checkpoint import MODEL_NAME
from hemline.train.evaluating.images import DataSource, SplitImages, counted
from hemline.train.evaluating.result import Origin
from hemline.train.tensorflow import quiet_keras

if TYPE_CHECKING:
    import keras


class CheckpointSubject:
    """A checkpoint whose model is loaded when it is first needed."""

    def __init__(self, folder: Path, card: Card) -> None:
        self.name, self.folder, self.card = str(folder), folder, card
        self.labels, self.shape, self.temperature = (
            card.model.labels,
            card.model.shape,
            card.model.temperature,
        )

    @functools.cached_property
    def model(self) -> keras.Model:
        """Return the Keras model; raises FileFormatError when Keras cannot open it."""
        path = self.folder / MODEL_NAME
        try:
            model = quiet_keras().models.load_model(path, compile=False)
        except (ValueError, TypeError, KeyError, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise FileFormatError(
                f"Keras {quiet_keras().__version__} cannot open {path} ({reason}): it was written "
                f"with {self.card.model.versions.get('keras', 'another one')}"
            ) from error
        shapes = (tuple(model.input_shape[1:]), model.output_shape[-1])
        if shapes != (self.shape, len(self.labels)):
            raise FileFormatError(
                f"{path} takes {shapes[0]} and gives {shapes[1]} classes, its card says "
                f"{self.shape} and {len(self.labels)}: the card was altered; copy both again"
            )
        return model

    def open(self) -> None:
        """Load the model."""
        _ = self.model

    def split(self, name: str, data: DataSource) -> SplitImages:
        """Return validation or test images, of other data with a note that says so.

        Raises DataError when the classes or sizes are others, and when the validation images of the
        training are not in the data.
        """
        images = data.load(self.card.trained.dataset, self.shape, self.labels)
        self._require_fitting(images)
        notes: tuple[str, ...] = ()
        if images.sha256 != self.card.trained.data_sha256:
            notes = (
                f"{self.name} was trained on other {self.card.trained.dataset} files than those in "
                f"{images.source}",
            )
        kept_apart = np.asarray(self.card.trained.split.validation_indices, np.intp)
        validation = self._validation_images(images, kept_apart)
        pixels, labels = images.test_images, images.test_labels
        if name == "validation":
            if validation is None:
                raise DataError(
                    f"the validation images of {self.name} are not in {images.source}: name the "
                    "data it was trained on with --data, or use --split test"
                )
            pixels, labels = validation, images.train_labels[kept_apart]
        return SplitImages(
            name=name,
            dataset=images.dataset.name,
            title=images.dataset.title,
            source=images.source,
            pixels=pixels,
            labels=labels,
            counts=self._counts(images, kept_apart, known=validation is not None),
            notes=notes,
        )

    def logits(self, split: SplitImages) -> npt.NDArray[np.float32]:
        """Return float32 logits (n, classes)."""
        model = self.model  # loads TensorFlow, quietly
        from hemline.train.predictor import Predictor

        return Predictor(model, fixed=True).logits(split.pixels)

    def origin(self) -> Origin:
        """Return what it is."""
        from hemline.train.evaluating.layers import summary_of

        return Origin(
            name=self.name,
            kind="checkpoint",
            model=self.card.model.name,
            sha256=self.card.model.sha256,
            parameters=self.card.model.parameters,
            macs=self.card.model.macs,
            size_bytes=(self.folder / MODEL_NAME).stat().st_size,
            runtime="keras",
            runtime_version=quiet_keras().__version__,
            members=(),
            layers=summary_of(self.model),
        )

    def _require_fitting(self, images: Images) -> None:
        if images.dataset.labels != self.labels:
            raise DataError(
                f"{self.name} tells {_few(self.labels)} apart, {images.source} holds "
                f"{_few(images.dataset.labels)}: name other data with --data"
            )
        if images.test_images.shape[1:] != self.shape:
            raise DataError(
                f"{self.name} takes images of {self.shape}, those in {images.source} have "
                f"{images.test_images.shape[1:]}: name other data with --data"
            )

    def _validation_images(
        self, images: Images, kept_apart: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.uint8] | None:
        """Return the images kept apart from training; None when these are not in the data."""
        if not len(kept_apart) or kept_apart[-1] >= len(images.train_images):
            return None
        found = images.train_images[kept_apart]
        return found if array_sha256(found) == self.card.trained.split.validation_sha256 else None

    def _counts(
        self, images: Images, kept_apart: npt.NDArray[np.intp], *, known: bool
    ) -> dict[str, tuple[int, ...]]:
        classes = len(self.labels)
        test = {"test": counted(images.test_labels, classes)}
        if not known:
            return test
        used = images.train_labels[: self.card.trained.split.limit]
        validation = counted(images.train_labels[kept_apart], classes)
        everything = counted(used, classes)
        training = tuple(a - b for a, b in zip(everything, validation, strict=True))
        return {"training": training, "validation": validation, **test}


def _few(labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:3])
    return f"{shown}, … ({len(labels)} classes)" if len(labels) > 3 else shown

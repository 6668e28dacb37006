"""Distill trained models: Hinton et al., Distilling the Knowledge in a Neural Network (2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from hemline.contract.card import Card, Split
from hemline.contract.checkpoint import MODEL_NAME, read_card
from hemline.errors import UsageError, remedy
from hemline.train.nets.normalization import training_copy
from hemline.train.predictor import with_constants

Teach = Callable[[tf.Tensor], tf.Tensor]


def read_teachers(
    folders: Sequence[Path], *, labels: tuple[str, ...], shape: tuple[int, int, int], split: Split
) -> tuple[Card, ...]:
    """Return the cards of teachers, which must fit the student.

    Raises UsageError for a teacher of other classes, other images, or one that was trained on
    images that are held out here.
    """
    cards = tuple(read_card(folder) for folder in folders)
    for folder, card in zip(folders, cards, strict=True):
        model = card.model
        if model.labels != labels:
            raise UsageError(
                f"the teacher {folder} has other classes ({_few(model.labels)}) than the data "
                f"({_few(labels)})"
            )
        if model.shape != shape:
            raise UsageError(
                f"the teacher {folder} accepts {' × '.join(map(str, model.shape))} images, the "
                f"data has {' × '.join(map(str, shape))}"
            )
        if card.trained.split.validation_sha256 != split.validation_sha256:
            raise UsageError(
                f"the teacher {folder} was trained on another split, so it may have seen the "
                "validation images",
                remedy=remedy("same split"),
            )
    return cards


def open_teachers(folders: Sequence[Path], temperature: float, precision: str = "float32") -> Teach:
    """Return a function from float pixels (n, h, w, c) to the teachers' mean probabilities."""
    loaded = [keras.models.load_model(folder / MODEL_NAME, compile=False) for folder in folders]
    models = [with_constants(training_copy(model, precision)) for model in loaded]

    def teach(images: tf.Tensor) -> tf.Tensor:
        given = [model(images) for model in models]
        soft = [tf.nn.softmax(tf.cast(logits, tf.float32) / temperature) for logits in given]
        return tf.stop_gradient(tf.add_n(soft) / len(soft))

    return teach


class Student(keras.Model):  # type: ignore[misc] # keras has no types
    """A model whose loss is in part the distance to its teachers' predictions.

    teach: predicts them; None where targets are (n, 2 · classes): labels, then predictions.
    """

    def __init__(
        self, *, inputs: Any, outputs: Any, teach: Teach | None, share: float, temperature: float
    ) -> None:
        super().__init__(inputs=inputs, outputs=outputs)
        self._teach, self._share, self._temperature = teach, share, temperature

    def compute_loss(
        self,
        x: tf.Tensor,
        y: tf.Tensor,
        y_pred: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Return the blended loss of a batch."""
        classes = y_pred.shape[-1]
        own = super().compute_loss(
            x=x, y=y[:, :classes], y_pred=y_pred, sample_weight=sample_weight, training=training
        )
        theirs = y[:, classes:] if self._teach is None else self._teach(x)
        log_soft = tf.nn.log_softmax(tf.cast(y_pred, tf.float32) / self._temperature)
        # the divergence and not the cross-entropy, so that a student as good as its teachers has 0
        apart = tf.math.xlogy(theirs, theirs) - theirs * log_soft
        # squared: soft targets have gradients that are so much smaller (section 2 of the paper)
        distance = tf.reduce_sum(apart, axis=-1) * self._temperature**2
        if sample_weight is not None:
            distance *= sample_weight
        # over several devices gradients are added up; Keras has divided `own` by their number
        mean = tf.reduce_mean(distance) / tf.distribute.get_strategy().num_replicas_in_sync
        return (1 - self._share) * own + self._share * mean

    def compute_metrics(
        self, x: tf.Tensor, y: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Return the metrics of a batch, by its labels."""
        labels = y[:, : y_pred.shape[-1]]
        figures: dict[str, tf.Tensor] = super().compute_metrics(x, labels, y_pred, sample_weight)
        return figures


def _few(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")

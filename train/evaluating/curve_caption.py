"""What the caption of the training curves says: only what is true of the card's own recipe."""

from __future__ import annotations

from collections.abc import Sequence

from hemline.contract.card import TrainingCard
from hemline.train.evaluating.result import Layer

_CHANGES_IMAGES = ("shift", "flip", "rotation", "zoom", "cutout", "erasing", "mixup")


def curve_caption(card: TrainingCard, layers: Sequence[Layer]) -> str:
    """Return why the training figures of a card are not those of validation."""
    ways = _harder(card, layers)
    sentence = "Training figures are taken during the epoch, while the weights still change"
    if ways:
        result = "the training accuracy may lie below the validation one"
        if not card.teachers:
            result += ", and the training loss above it"
        sentence += f", {' and '.join(ways)}: {result}"
    return " ".join((f"{sentence}.", *_of_the_loss(card)))


def _harder(card: TrainingCard, layers: Sequence[Layer]) -> list[str]:
    fields = card.recipe_fields
    ways = []
    if any(fields.get(name) for name in _CHANGES_IMAGES):
        ways.append("on augmented images")
    dropout = fields.get("dropout")
    if dropout is None:  # the recipe leaves it to the model
        dropout = any("Dropout" in layer.kind for layer in layers)
    if dropout:
        ways.append("with dropout")
    return ways


def _of_the_loss(card: TrainingCard) -> list[str]:
    if card.teachers:
        return [
            "The training loss also holds the distance to the teachers' answers and cannot be "
            "compared with the validation loss: it is not shown."
        ]
    fields, sentences = card.recipe_fields, []
    raised = {"label_smoothing": "label smoothing", "l2": "the penalty of the kernels"}
    if causes := [words for name, words in raised.items() if fields.get(name)]:
        sentences.append(f"The training loss is raised by {' and '.join(causes)}.")
    if fields.get("class_weights", "none") != "none":
        sentences.append("Rare classes weigh more in the training loss.")
    return sentences

"""Find out whether a trained model has memorised its training images."""

from __future__ import annotations

from hemline.contract.card import TrainingCard
from hemline.statistics import wilson
from hemline.tables import percent

_GAP = 0.05  # beyond the interval of the validation accuracy
_LEAST = 0.85  # training accuracy: a model that has just begun may do worse on validation images


def overfitting_line(card: TrainingCard) -> str:
    """Return the two accuracies of a model that memorised its training images, "" of others.

    The training accuracy is that of the epoch whose weights are kept, on augmented images: without
    augmentation it would be higher still.
    """
    score, history = card.score("validation"), card.history
    kept = next((each for each in history if each.epoch == card.kept_epoch), history[-1])
    _, high = wilson(score.correct, score.images)
    if kept.accuracy <= max(high + _GAP, _LEAST):
        return ""
    return (
        f"training accuracy {percent(kept.accuracy)}, validation {percent(score.accuracy)}: "
        "the model has memorised its training images"
    )

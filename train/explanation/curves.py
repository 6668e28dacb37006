"""Training curves, and a caption that is true of the recipe that was trained by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hemline.contract.card import TrainingCard
from hemline.contract.model_summary import Layer
from hemline.figures import BLUE, GRAY, ORANGE, Heading, drawn, legend_below
from hemline.tables import percent
from hemline.train.overfitting import overfitting_line

_DISTILLED = "training: includes the distillation loss, not shown"
_MOST_EPOCHS = 10  # numbers below the curves
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # from one of them to the next
_CHANGES_IMAGES = ("shift", "flip", "rotation", "zoom", "cutout", "erasing", "mixup")


def draw_curves(path: Path, heading: Heading, card: TrainingCard) -> None:
    """Draw loss and accuracy over the epochs, training and validation.

    The training loss of a distilled model is left out: beside it, the other one would be flat.
    """
    history, kept_epoch, distilled = card.history, card.kept_epoch, bool(card.teachers)
    epochs = [each.epoch for each in history]
    kept = next((each for each in history if each.epoch == kept_epoch), history[-1])
    validation = percent(kept.validation_accuracy)
    heading = heading.saying(f"{validation} on validation after epoch {kept.epoch}")
    marker = "o" if len(epochs) < 12 else ""  # a single epoch is a point, not a line
    with drawn(path, heading, width=8, height=3.6) as figure:
        left, right = figure.subplots(1, 2)
        for axes, name, scale in ((left, "loss", 1), (right, "accuracy", 100)):
            series = (("training", "", BLUE), ("validation", "validation_", ORANGE))
            for which, prefix, colour in series:
                if distilled and (which, name) == ("training", "loss"):
                    continue
                values = [scale * getattr(each, f"{prefix}{name}") for each in history]
                axes.plot(epochs, values, color=colour, marker=marker, markersize=4, label=which)
            if kept_epoch:
                label = f"weights of epoch {kept_epoch}"
                axes.axvline(kept_epoch, color=GRAY, linestyle=":", label=label)
            _over_epochs(axes, epochs)
        left.set_title("loss", loc="left")
        if distilled:
            left.set_title(_DISTILLED, loc="right", fontsize=7.5, color=GRAY)
        right.set_title("accuracy, %", loc="left")
        legend_below(figure, right)


def curve_caption(card: TrainingCard, layers: Sequence[Layer]) -> str:
    """Return why the training figures of a card are not those of validation."""
    if memorised := overfitting_line(card):
        return " ".join((f"{memorised[0].upper()}{memorised[1:]}.", *_of_the_loss(card)))
    ways = _harder(card, layers)
    sentence = "Training figures are measured during the epoch, while the weights still change"
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
            "The training loss also includes the distillation loss and cannot be "
            "compared with the validation loss: it is not shown."
        ]
    fields, sentences = card.recipe_fields, []
    raised = {"label_smoothing": "label smoothing", "l2": "the penalty of the kernels"}
    if causes := [words for name, words in raised.items() if fields.get(name)]:
        sentences.append(f"The training loss is raised by {' and '.join(causes)}.")
    if fields.get("class_weights", "none") != "none":
        sentences.append("Rare classes weigh more in the training loss.")
    return sentences


def _over_epochs(axes: Any, epochs: Sequence[int]) -> None:
    axes.set_xlabel("epoch")
    first, last = epochs[0], epochs[-1]
    room = 0.03 * max(last - first, 1)  # for half a point, not for an epoch
    axes.set_xlim(first - room, last + room)
    axes.set_xticks(epoch_ticks(first, last))
    axes.grid()


def epoch_ticks(first: int, last: int) -> list[int]:
    """Return the epochs that are numbered: the first one, then round ones up to the last."""
    step = next((each for each in _STEPS if (last - first) / each < _MOST_EPOCHS), _STEPS[-1])
    round_ones = range(step, last + 1, step)
    return [first, *(each for each in round_ones if each >= first + max(1, step / 2))]

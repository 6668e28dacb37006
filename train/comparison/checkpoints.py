"""One checkpoint for each data set and seed: the one that is there if it fits, else a new one."""

from __future__ import annotations

from hemline.console import say
from hemline.contract.card import Card
from hemline.data.datasets import Images
from hemline.errors import HemlineError, UsageError
from hemline.train.checkpoint import is_checkpoint, read_card
from hemline.train.commands import run_training, summary
from hemline.train.recipes.recipe import Recipe
from hemline.train.request import TrainRequest


def trained(request: TrainRequest, images: Images, *, force: bool) -> Card:
    """Return the card of the request's checkpoint; train it unless it was trained so before.

    `force` lets a checkpoint of anything else be replaced. Raises UsageError for one without it.
    """
    folder = request.folder
    if is_checkpoint(folder):
        card = read_card(folder)
        other = _otherness(card, request, images)
        if not other:
            say(f"{folder}: trained before, kept")
            return card
        if not force:
            raise UsageError(
                f"{folder} holds a checkpoint of {other}: replace it with --force, or name another "
                "folder with --output"
            )
    from hemline.train.tensorflow import quiet_keras

    quiet_keras().utils.clear_session()  # so that it is made as in a process of its own
    card = run_training(request, images)
    say(summary(card, folder))
    return card


def _otherness(card: Card, request: TrainRequest, images: Images) -> str:
    """Return in what a checkpoint is not the one that is asked for; empty where it is."""
    if card.model.name != request.model.name:
        return f"another model ({card.model.name})"
    if changed := _changes(card, request.recipe):
        return f"another recipe ({changed})"
    if card.trained.seed != request.seed:
        return f"another seed ({card.trained.seed})"
    if card.trained.data_sha256 != images.sha256:
        return f"other data than in {images.source}"
    if card.trained.teachers or card.trained.pretrained_sha256:
        return "a training with teachers or pretrained weights"
    return ""


def _changes(card: Card, recipe: Recipe) -> str:
    try:
        before = Recipe.of_fields(card.trained.recipe_fields).as_fields()
    except HemlineError as error:
        return str(error)
    now = recipe.as_fields()
    names = [name for name in now if now[name] != before[name]]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]} {before[names[0]]} instead of {now[names[0]]}{more}" if names else ""

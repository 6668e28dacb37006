"""A checkpoint on disk: checkpoint.keras, card.json and history.csv in one folder."""

from __future__ import annotations

from pathlib import Path

from hemline.contract.card import Card
from hemline.contract.schema import load
from hemline.errors import FileFormatError
from hemline.files import sha256_of

MODEL_NAME = "checkpoint.keras"
CARD_NAME = "card.json"
HISTORY_NAME = "history.csv"


def is_checkpoint(folder: Path) -> bool:
    """Tell whether a folder holds a finished checkpoint (its card is written last)."""
    return (folder / CARD_NAME).is_file()


def read_card(folder: Path) -> Card:
    """Read the card and check that the model beside it is the one it describes.

    Raises FileFormatError when the folder is no checkpoint, or the model was altered.
    """
    if not folder.exists():
        raise FileFormatError(f"{folder} does not exist: name a folder that holds a checkpoint")
    if not is_checkpoint(folder):
        raise FileFormatError(
            f"{folder} is not a checkpoint: it has no {CARD_NAME}; train one first"
        )
    card = load(Card, folder / CARD_NAME)
    model = folder / card.model.file
    if sha256_of(model) != card.model.sha256:
        raise FileFormatError(f"{model} does not match its card: train again or copy both again")
    return card

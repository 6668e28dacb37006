"""Checkpoints as Keras models, and those that come with Hemline."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.contract.card import Card
from hemline.contract.checkpoint import CARD_NAME
from hemline.contract.schema import load
from hemline.errors import FileFormatError, HemlineError, UsageError, remedy
from hemline.train.tensorflow import quiet_keras

if TYPE_CHECKING:
    import keras

ZOO = Path(__file__).resolve().parent / "zoo"


def load_model(folder: Path, card: Card) -> keras.Model:
    """Return the model of a checkpoint; raises FileFormatError when it does not fit its card."""
    path, written = folder / card.model.file, card.model.versions.get("keras", "another version")
    module = quiet_keras()
    try:
        model = module.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileFormatError(
            f"Keras {module.__version__} cannot open {path} ({reason}): it was written with "
            f"{written}"
        ) from error
    found = (tuple(model.input_shape[1:]), model.output_shape[-1])
    if found != (card.model.shape, len(card.model.labels)):
        raise FileFormatError(
            f"{path} has the input {found[0]} and {found[1]} classes, its card {card.model.shape} "
            f"and {len(card.model.labels)}: the card was modified"
        )
    return model


def find_teachers(path: Path, card: Card) -> tuple[Path, ...]:
    """Return the checkpoints that one was distilled from, if beside it or among Hemline's own.

    path: its folder or its card.

    Raises UsageError when one of them is missing.
    """
    folder = path.parent if path.name == CARD_NAME else path
    here: dict[str, Path] = {}
    for found in (*folder.resolve().parent.glob(f"*/{CARD_NAME}"), *ZOO.glob(f"*/{CARD_NAME}")):
        with contextlib.suppress(HemlineError):  # a damaged neighbour is none of them
            here[load(Card, found).model.sha256] = found.parent
    hashes = card.trained.teachers
    if missing := [each[:12] for each in hashes if each not in here]:
        raise UsageError(
            f"{folder} was distilled from checkpoints that are neither beside it nor come with "
            f"Hemline: SHA-256 {', '.join(missing)}…",
            remedy=remedy("name teachers", folder=folder, model=card.model.name),
        )
    return tuple(here[each] for each in hashes)

"""What labelled images say of an imported model: that its pixels and labels are right, or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from scipy.special import softmax

from hemline import files
from hemline.contract import schema
from hemline.contract.card import Card, Confirmation
from hemline.contract.checkpoint import CARD_NAME
from hemline.data.datasets import Images
from hemline.errors import UsageError, remedy
from hemline.export.admission.mistakes import (
    LEAST_IMAGES,
    MOST_IMAGES,
    Kind,
    Mistake,
    suspected_mistakes,
)
from hemline.export.importing.graph_session import GraphSession
from hemline.export.pixel_scale import PixelScale
from hemline.remedies import advice
from hemline.statistics import wilson

Pixels = npt.NDArray[np.uint8]
Run = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
Say = Callable[[str], None]
_KINDS: tuple[Kind, ...] = ("pixels", "channel order", "label order")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What labelled images say of how a model is used: that it is right, or what is doubtful."""

    confirmed: bool = False
    doubts: frozenset[Kind] = frozenset()

    def of(self, kind: Kind, otherwise: Confirmation) -> Confirmation:
        """Return who confirmed something; `otherwise` where the images do not decide."""
        if kind in self.doubts:
            return "nobody"
        return "images" if self.confirmed else otherwise


def fingerprint_of(images: Images) -> str:
    """Return the hash of labelled images by which a card names them."""
    return files.fingerprint(images.sha256)


def judge(
    run: Run, images: Images, labels: Sequence[str], scale: PixelScale, *, where: str, say: Say
) -> Judgement:
    """Return what labelled images confirm of pixels and labels.

    `run` turns uint8 images (n, height, width, channels) into logits (n, classes); `scale` is what
    the source expects. Raises UsageError, beginning with `where`, for a mistake that they show:
    another pixel range or order of channels or labels classifies clearly more of them. One that
    costs no accuracy, or is uncertain, is reported.
    """
    pixels, classes = _checked(images)

    def probabilities(given: Pixels, other: PixelScale) -> npt.NDArray[np.float32]:
        # the graph takes pixels of its own scale: what `other` makes, undone
        logits = run(scale.pixels(other.values(given)))
        return np.asarray(softmax(logits, axis=1), np.float32)

    found = suspected_mistakes(
        probabilities, pixels, classes, tuple(labels), scale=scale, gives="probabilities"
    )
    for mistake in found:
        if mistake.certain and mistake.repaired > mistake.correct:
            raise UsageError(f"{where}: {mistake.message}", remedy=mistake.remedy)
        say(mistake.line)
    if _is_guessing(run(pixels), classes, say):
        return Judgement(doubts=frozenset(_KINDS))
    return Judgement(confirmed=True, doubts=_doubts(found))


def confirm(checkpoint: Path, card: Card, images: Images, say: Say) -> Card:
    """Judge a checkpoint of an imported model by labelled images that it was not judged by.

    Notes in its card what they confirm. Raises UsageError as `judge` does.
    """
    known = card.imported
    if known is None or known.proven or known.images_sha256 == fingerprint_of(images):
        return card
    scale = PixelScale(mean=known.mean, std=known.std, bgr=known.bgr)
    session = GraphSession(onnx.load(checkpoint / card.model.file))
    where = f"{checkpoint} (import {known.file} again)"
    judged = judge(session.run, images, card.model.labels, scale, where=where, say=say)
    imported = replace(
        known,
        pixels_confirmed=judged.of("pixels", known.pixels_confirmed),
        channels_confirmed=judged.of("channel order", known.channels_confirmed),
        labels_confirmed=judged.of("label order", known.labels_confirmed),
        images_sha256=fingerprint_of(images),
    )
    card = replace(card, imported=imported)
    with files.locked(checkpoint):
        schema.save(checkpoint / CARD_NAME, card)
    return card


def _checked(images: Images) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Return labelled images, of the test part too where there are few: a check chooses nothing."""
    pixels, classes = images.train_images[:MOST_IMAGES], images.train_labels[:MOST_IMAGES]
    if (room := MOST_IMAGES - len(pixels)) > 0:
        pixels = np.concatenate([pixels, images.test_images[:room]])
        classes = np.concatenate([classes, images.test_labels[:room]])
    return pixels, classes.astype(np.int64)


def _doubts(found: Sequence[Mistake]) -> frozenset[Kind]:
    return frozenset(each.kind for each in found if each.repaired > each.correct)


def _is_guessing(logits: npt.NDArray[Any], classes: npt.NDArray[np.int64], say: Say) -> bool:
    correct, count = int((logits.argmax(axis=1) == classes).sum()), len(classes)
    chance = 1 / logits.shape[1]
    guessing = wilson(correct, count)[0] <= chance
    if guessing and count >= LEAST_IMAGES:
        say(
            f"accuracy {100 * correct / count:.1f} % on {count:,} images is not clearly better "
            f"than guessing ({100 * chance:.3g} %); {advice(remedy('doubtful use'))}"
        )
    return guessing

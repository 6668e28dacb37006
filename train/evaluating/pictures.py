"""Every picture of an evaluation: which there are, what they show, and for what they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.contract.card import Card
from hemline.train.evaluating.curve_caption import curve_caption
from hemline.train.evaluating.drawing import Heading, short_labels
from hemline.train.evaluating.images import SplitImages
from hemline.train.evaluating.measures import Answers
from hemline.train.evaluating.result import Result
from hemline.train.evaluating.text import title_of

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One result with all that its pictures are made from.

    result: the figures.
    folder: below the output, where its pictures lie; "." where there is one result only.
    answers, split: what was answered, and the images.
    card: of the checkpoint; None for everything else.
    model: the Keras model; None for everything but a checkpoint.
    maps_layer: whose feature maps are shown; None for a model without convolutions.
    """

    result: Result
    folder: str
    answers: Answers
    split: SplitImages
    card: Card | None
    model: keras.Model | None
    maps_layer: keras.Layer | None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the class names as they stand in pictures."""
        return short_labels([each.label for each in self.result.classes])

    @property
    def subtitle(self) -> str:
        """Return what every picture says of itself."""
        result = self.result
        return (
            f"{title_of(result)}: {100 * result.accuracy:.2f} % of {result.images:,} "
            f"{self.split.name} images of {self.split.title} right"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A row of the PICTURES table.

    name: of the file, without its ending.
    title: on the picture and in the report.
    caption: what the reader sees.
    draw: writes the file, or returns why there is no such picture.
    remark: what the caption says of this one besides; empty for nothing.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Look, Path, Heading], str | None]
    remark: Callable[[Look], str] = lambda _: ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A picture that was drawn, or why it was not: exactly one of path and reason is given."""

    picture: Picture
    caption: str
    path: Path | None
    reason: str | None


def draw_all(look: Look, output: Path) -> tuple[Drawn, ...]:
    """Write every picture of one result below `output`; those left from before are removed."""
    return tuple(_drawn(picture, look, output) for picture in PICTURES)


def _drawn(picture: Picture, look: Look, output: Path) -> Drawn:
    path = output / look.folder / f"{picture.name}.png"
    heading = Heading(title=picture.title, subtitle=look.subtitle)
    reason = picture.draw(look, path, heading)
    if reason is not None:
        path.unlink(missing_ok=True)
        return Drawn(picture=picture, caption=picture.caption, path=None, reason=reason)
    caption = f"{picture.caption} {picture.remark(look)}".strip()
    return Drawn(picture=picture, caption=caption, path=path, reason=None)


def _curves(look: Look, path: Path, heading: Heading) -> str | None:
    from hemline.train.evaluating.charts import draw_curves

    card = look.card
    training = None if card is None else card.training
    if training is None or not training.history:
        return _needs_checkpoint(look)
    draw_curves(
        path, heading, training.history, training.kept_epoch, taught=bool(training.teachers)
    )
    return None


def _of_the_curves(look: Look) -> str:
    card = look.card
    return (
        ""
        if card is None or card.training is None
        else curve_caption(card.training, look.result.origin.layers)
    )


def _confusion(look: Look, path: Path, heading: Heading) -> str | None:
    from hemline.train.evaluating.charts import draw_confusion

    draw_confusion(path, heading, look.result)
    return None


def _reliability(look: Look, path: Path, heading: Heading) -> str | None:
    from hemline.train.evaluating.charts import draw_reliability

    draw_reliability(path, heading, look.result)
    return None


def _classes(look: Look, path: Path, heading: Heading) -> str | None:
    from hemline.train.evaluating.charts import draw_classes

    draw_classes(path, heading, look.result, look.split.counts, look.split.name)
    return None


def _samples(look: Look, path: Path, heading: Heading) -> str | None:
    from hemline.train.evaluating.galleries import draw_samples

    draw_samples(path, heading, look.split, look.answers, look.names)
    return None


def _mistakes(look: Look, path: Path, heading: Heading) -> str | None:
    from hemline.train.evaluating.galleries import draw_mistakes

    some = draw_mistakes(path, heading, look.split, look.answers, look.names)
    return None if some else "every answer is right"


def _feature_maps(look: Look, path: Path, heading: Heading) -> str | None:
    from hemline.train.evaluating.galleries import draw_feature_maps

    if look.model is None:
        return _needs_checkpoint(look)
    if look.maps_layer is None:
        return "the model has no convolution"
    draw_feature_maps(path, heading, look.split, look.model, look.maps_layer)
    return None


def _grad_cam(look: Look, path: Path, heading: Heading) -> str | None:
    from hemline.train.evaluating.galleries import draw_grad_cam

    if look.model is None:
        return _needs_checkpoint(look)
    from hemline.train.evaluating.layers import last_maps

    layer = last_maps(look.model)
    if layer is None:
        return "the model has no convolution"
    draw_grad_cam(path, heading, look.split, look.answers, look.names, look.model, layer)
    return None


def _needs_checkpoint(look: Look) -> str:
    return f"it needs a checkpoint, this is an {look.result.origin.kind}"


PICTURES: tuple[Picture, ...] = (
    Picture(
        name="curves",
        title="Training and validation",
        caption="Loss and accuracy after each epoch.",
        draw=_curves,
        remark=_of_the_curves,
    ),
    Picture(
        name="confusion",
        title="Confusion matrix",
        caption="Images of each true class (row) by their answer (column). The colour is the share "
        "of the true class, on a square-root scale, so that rare mistakes can be seen.",
        draw=_confusion,
    ),
    Picture(
        name="reliability",
        title="Reliability",
        caption="Accuracy of the answers in 15 bins of confidence; on the dotted line a score of "
        "80 % is right in 80 % of the cases. Below: how many answers have which confidence.",
        draw=_reliability,
    ),
    Picture(
        name="classes",
        title="Class distribution",
        caption="Images of each class in each part of the data, and how often each class was "
        "answered in the part that was evaluated.",
        draw=_classes,
    ),
    Picture(
        name="samples",
        title="Sample predictions",
        caption="Images at random, as many of each class; green with ✓ is right, red with ✗ is "
        "wrong. The score is the probability with temperature.",
        draw=_samples,
    ),
    Picture(
        name="mistakes",
        title="Worst mistakes",
        caption="The wrong answers with the highest scores. Some are the model's fault, some the "
        "label's.",
        draw=_mistakes,
    ),
    Picture(
        name="feature-maps",
        title="Feature maps",
        caption="What one layer makes of an image, channel by channel, on one colour scale.",
        draw=_feature_maps,
    ),
    Picture(
        name="grad-cam",
        title="Grad-CAM",
        caption="Bright is what speaks for the answer (Selvaraju et al., 2017), at the last "
        "convolution block: first right answers, then the worst mistakes.",
        draw=_grad_cam,
    ),
)

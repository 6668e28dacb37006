"""The pictures of a checkpoint that need Keras or its training card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hemline.contract.card import Card, TrainingCard
from hemline.contract.model_summary import Layer
from hemline.figures import GRAY, Heading, NotDrawnError, Picture
from hemline.tiles import Gallery, Line, Tile, balanced_sample, draw_tiles
from hemline.train.checkpoint import load_model
from hemline.train.explanation.curves import curve_caption, draw_curves

if TYPE_CHECKING:
    import keras

_EXPLAINED = 6  # images of each kind under Grad-CAM
_MAPS = 36  # channels that are shown of a layer
_COLOURS = "yellow to red: evidence for the prediction below the picture; gray: none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedModel:
    """A checkpoint's model, loaded.

    training: how it was trained; None for an imported model.
    model: the Keras model.
    layers: its summary.
    maps_layer: whose feature maps are shown; None for a model without convolutions.
    """

    training: TrainingCard | None
    model: keras.Model
    layers: tuple[Layer, ...]
    maps_layer: keras.Layer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the pictures are drawn from.

    kind: of what was evaluated, for the reason why there is no picture.
    explained: the model; None for everything but a checkpoint.
    gallery: the images with the predictions.
    """

    kind: str
    explained: ExplainedModel | None
    gallery: Gallery

    @property
    def checkpoint(self) -> ExplainedModel:
        """Return the model; raises NotDrawnError when there is none."""
        if self.explained is None:
            raise NotDrawnError(f"it needs a checkpoint, this is an {self.kind}")
        return self.explained


def load_explained(folder: Path, card: Card, layer: str | None) -> ExplainedModel:
    """Load a checkpoint; `layer` is the one whose feature maps to show, by default the first.

    Raises FileFormatError when Keras cannot open it, UsageError for a layer without maps.
    """
    model = load_model(folder, card)
    from hemline.train.explanation.layers import layer_with_maps, summary_of

    return ExplainedModel(
        training=card.training,
        model=model,
        layers=summary_of(model),
        maps_layer=layer_with_maps(model, layer),
    )


def _curves(explanation: Explanation, path: Path, heading: Heading) -> str:
    checkpoint = explanation.checkpoint
    training = checkpoint.training
    if training is None or not training.history:
        raise NotDrawnError("the model was not trained here")
    draw_curves(path, heading, training)
    return curve_caption(training, checkpoint.layers)


def _feature_maps(explanation: Explanation, path: Path, heading: Heading) -> None:
    checkpoint, gallery = explanation.checkpoint, explanation.gallery
    layer = checkpoint.maps_layer
    if layer is None:
        raise NotDrawnError("the model has no convolution")
    from hemline.train.explanation.activations import feature_maps
    from hemline.train.explanation.feature_maps import draw_feature_maps

    at = balanced_sample(gallery.labels, 1)[0]
    maps = feature_maps(checkpoint.model, layer, gallery.pixels[at : at + 1])[0]
    shown = min(maps.shape[-1], _MAPS)
    heading = heading.saying(f"{layer.name}, {shown} of {maps.shape[-1]} channels")
    draw_feature_maps(path, heading, gallery.pixels[at], maps[..., :shown])


def _grad_cam(explanation: Explanation, path: Path, heading: Heading) -> None:
    checkpoint, gallery = explanation.checkpoint, explanation.gallery
    from hemline.train.explanation.activations import grad_cam
    from hemline.train.explanation.layers import last_maps

    layer = last_maps(checkpoint.model)
    if layer is None:
        raise NotDrawnError("the model has no convolution")
    correct = np.flatnonzero(gallery.predicted == gallery.labels)
    some = correct[balanced_sample(gallery.labels[correct], _EXPLAINED)]
    chosen = np.concatenate([some, gallery.worst(2 * _EXPLAINED - len(some))])
    classes = gallery.predicted[chosen]
    heats = grad_cam(checkpoint.model, layer, gallery.pixels[chosen], classes)
    tiles = []
    for at, heat in zip(chosen, heats, strict=True):
        truth = Line(text=f"true: {gallery.names[gallery.labels[at]]}", colour=GRAY)
        tiles += [Tile(image=gallery.pixels[at], lines=(truth,)), gallery.tile(at, heat)]
    heading = heading.saying(f"last convolution block ({layer.name})")
    draw_tiles(path, heading, tiles, note=_COLOURS)


EXPLANATIONS: tuple[Picture[Explanation], ...] = (
    Picture(
        name="curves",
        title="Training and validation",
        caption="Loss and accuracy after each epoch.",
        draw=_curves,
    ),
    Picture(
        name="feature-maps",
        title="Feature maps",
        caption="The output of one layer for one image, channel by channel, on one colour scale.",
        draw=_feature_maps,
    ),
    Picture(
        name="grad-cam",
        title="Grad-CAM",
        caption="Yellow to red is evidence for the prediction (Selvaraju et al., 2017), at the "
        "last convolution block: first correct predictions, then the worst mistakes.",
        draw=_grad_cam,
    ),
)

"""A diagnosis as a document: the loss, each layer's part in it, and its causes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What rounding costs, compared with the float model on the same images.

    drop_points: accuracy that is lost, percentage points; None for images without labels.
    changed_points: images with another label than the float model's, percentage points.
    divergence: mean Kullback-Leibler divergence of the probabilities from the float model's, nats.
    """

    drop_points: float | None
    changed_points: float
    divergence: float

    @property
    def points(self) -> float:
        """Return the accuracy that is lost; without labels, the share of changed labels."""
        return self.changed_points if self.drop_points is None else self.drop_points


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelReport:
    """One output channel of a layer.

    channel: its number.
    activation_ratio: width of its range on the images, relative to the median of live channels.
    weight_ratio: largest |weight|, relative to the median of the channels; None without weights.
    dead: whether it gives the same value everywhere in all images.
    """

    channel: int
    activation_ratio: float
    weight_ratio: float | None
    dead: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One layer: an operator, its weights if any, and the value that it is rounded to.

    name: of the layer.
    operator: in the float graph.
    weights: name of its weights in the plan; None for an operator without.
    value: name of its output in the float graph.
    range: name of that output's range in the plan.
    sqnr_db: signal-to-quantization-noise ratio of the output in the quantized model, decibels; it
        includes the noise of all layers before. None for an output without noise or signal.
    channel_sqnr_db: the same, median of the channels that are not dead.
    cosine: similarity of the quantized and the float output.
    bias: mean error, relative to the root mean square of the float output.
    clipped_share: of the float output's values that lie outside the range, 0 … 1.
    range_ratio: width of the range, relative to what the images need.
    weight_sqnr_db: signal-to-quantization-noise ratio of the weights alone; None without weights.
    alone: loss of a model in which only this layer is quantized.
    without: loss of the quantized model with this layer in float.
    dead_channels, channel_count: of the output.
    worst_channels: the widest ones.
    """

    name: str
    operator: str
    weights: str | None
    value: str
    range: str
    sqnr_db: float | None
    channel_sqnr_db: float | None
    cosine: float
    bias: float
    clipped_share: float
    range_ratio: float
    weight_sqnr_db: float | None
    alone: Loss | None
    without: Loss | None
    dead_channels: int
    channel_count: int
    worst_channels: tuple[ChannelReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseReport:
    """One cause of the loss.

    cause: name in the CAUSES table.
    layer: that it is in; None for one of the whole model.
    finding: what is the matter, in plain words.
    remedy: name of what helps; repair: the same in plain words.
    gain_points: what the remedy brings back of the loss, by simulation; None if not measured.
    """

    cause: str
    layer: str | None
    finding: str
    remedy: str
    repair: str
    gain_points: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Where and why a quantized model loses accuracy.

    subject: what was diagnosed, as the user wrote it; source: the float model, likewise.
    images: how many; split: which. labelled: whether they have labels.
    float_accuracy: of the float model, 0 … 1; None without labels.
    loss: of the quantized model.
    layers: the one with the largest loss alone first.
    causes: the one whose remedy brings back most first.
    notes: what a reader must know, one line each.
    """

    KIND: ClassVar[str] = "diagnosis"
    SCHEMA: ClassVar[int] = 1

    subject: str
    source: str
    split: str
    images: int
    labelled: bool
    float_accuracy: float | None
    loss: Loss
    layers: tuple[LayerReport, ...]
    causes: tuple[CauseReport, ...]
    notes: tuple[str, ...] = ()

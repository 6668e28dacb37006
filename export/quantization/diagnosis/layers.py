"""The report of one layer, from what was observed of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hemline.export.quantization.diagnosis.document import ChannelReport, LayerReport, Loss
from hemline.export.quantization.diagnosis.measures import Observation

_WORST_CHANNELS = 4
Ratios = npt.NDArray[np.float64]


def layer_report(
    seen: Observation,
    *,
    name: str,
    operator: str,
    value: str | None = None,
    owner: str | None = None,
    weights: str | None = None,
    weight_ratios: Ratios | None = None,
    weight_sqnr_db: float | None = None,
    alone: Loss | None = None,
    without: Loss | None = None,
) -> LayerReport:
    """Return a layer's report; what a finished file does not show is None."""
    return LayerReport(
        name=name,
        operator=operator,
        weights=weights,
        value=value or name,
        range=owner or name,
        sqnr_db=seen.sqnr_db,
        channel_sqnr_db=seen.channel_sqnr_db,
        cosine=seen.cosine,
        bias=seen.bias,
        clipped_share=seen.clipped_share,
        range_ratio=seen.range_ratio,
        weight_sqnr_db=weight_sqnr_db,
        alone=alone,
        without=without,
        dead_channels=int(seen.dead.sum()),
        channel_count=len(seen.dead),
        worst_channels=_worst(seen, weight_ratios),
    )


def _worst(seen: Observation, weights: Ratios | None) -> tuple[ChannelReport, ...]:
    ratios, dead = seen.channel_ratios, seen.dead
    return tuple(
        ChannelReport(
            channel=int(at),
            activation_ratio=float(ratios[at]),
            weight_ratio=None if weights is None or at >= len(weights) else float(weights[at]),
            dead=bool(dead[at]),
        )
        for at in np.argsort(-ratios, kind="stable")[:_WORST_CHANNELS]
    )

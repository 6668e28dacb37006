"""Channel counts that pad: kernels compute 16 or 32 output channels at a time, full or not."""

from hemline.bench.causes.observation import Observation, Observed, Trial, slowest

# Sums in vectors of 512 bits: two of float, one of int8. Narrower processors fill up to a part of
# it, and take times in proportion for whole multiples all the same.
_WIDTHS = {"float32": 32, "int8": 16}
_LEAST = 16


def observe(cell: Observed) -> Observation | None:
    """Suspect the layers whose channels are filled up; try the slowest of them."""
    wasted, padded = 0.0, []
    for cost in (each for each in cell.profile.operators if each not in cell.undelegated):
        layer, width = cell.layer(cost), _WIDTHS.get(cost.dtype, 1)
        if layer and not layer.shape.depthwise and layer.shape.channels_out > _LEAST:
            missing = -layer.shape.channels_out % width
            wasted += cell.share([cost]) * missing / (layer.shape.channels_out + missing)
            padded += [cost] if missing else []
    layer = cell.layer(slowest(padded)) if padded else None
    if layer is None:
        return None
    worst = slowest(padded)
    count, width = layer.shape.channels_out, _WIDTHS[worst.dtype]
    fewer = max(count // width * width, _LEAST)
    return Observation(
        share=wasted,
        sentence=f"kernels fill up the {count} channels of a layer",
        remedy=f"Give layers multiples of {width} channels{f', or {fewer}' * (fewer < width)}.",
        trial=Trial(
            name=f"{cell.title(worst)} with {fewer} channels",
            before=cell.copy(layer),
            after=cell.copy(layer, channels_out=fewer),
            expected=fewer / count,
            scale=cell.share(padded),
        ),
        suspected=True,
    )

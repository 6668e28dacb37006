"""Channel counts that pad: kernels compute 16 or 32 output channels at a time, full or not."""

from hemline.bench.causes.observation import Observation, Observed, Trial, title

# Sums in vectors of 512 bits: two of float, one of int8. Narrower processors fill up to a part of
# it, and take times in proportion for whole multiples all the same.
_WIDTHS = {"float32": 32, "int8": 16}


def observe(cell: Observed) -> Observation | None:
    """Suspect the layer that loses the most time if its channels are filled up."""
    found = []
    for cost in cell.profile.operators:
        layer, width = cell.layer(cost), _WIDTHS.get(cost.dtype, 1)
        if layer and not layer.depthwise and layer.channels_out > 16 and layer.channels_out % width:
            filled = layer.channels_out + -layer.channels_out % width
            share = cell.share([cost]) * (1 - layer.channels_out / filled)
            found.append((share, cost, layer, filled))
    if not found:
        return None
    share, cost, layer, filled = max(found, key=lambda each: each[0])
    count, width = layer.channels_out, _WIDTHS[cost.dtype]
    fewer = max(count // width * width, 16)
    return Observation(
        share=share,
        sentence=f"kernels fill up the {count} channels of {title(cost)} to {filled}",
        remedy=f"Give layers multiples of {width} channels.",
        trial=Trial(
            name=f"its shape with {fewer} channels",
            before=cell.copy(layer),
            after=cell.copy(layer, channels_out=fewer),
            expected=fewer / count,
            scale=cell.share([cost]),
        ),
        suspected=True,
    )

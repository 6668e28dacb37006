"""Memory-bound: values come more slowly than they are computed with."""

from hemline.bench.causes.observation import Observation, Observed, Trial, slowest
from hemline.bench.profiling.one_operator import one_addition
from hemline.contract.profile import OperatorCost, Probe

_PART = 16  # of the bytes that the changed operator has: they fit into faster memory
_ADDITION_BYTES = 12  # two numbers read, one written
_NEAR = (0.25, 2.0)  # × the probe's rate: slower ones wait for something else, faster are cached


def observe(cell: Observed) -> Observation | None:
    """Suspect operators that move bytes at the probe's rate and could compute faster."""
    probe = cell.profile.probe
    bound = [each for each in cell.profile.operators if probe and _is_bound(each, probe)]
    if not bound:
        return None
    worst = slowest(bound)
    rate = worst.bytes / (worst.ns or 1)
    return Observation(
        share=cell.share(bound),
        sentence=f"{cell.title(worst)} moves {worst.bytes / 1e6:.1f} MB at {rate:.0f} GB/s",
        remedy="Use fewer or narrower values: smaller layers, or 8-bit weights.",
        trial=_trial(cell, worst, cell.share(bound)),
        suspected=True,
    )


def _is_bound(cost: OperatorCost, probe: Probe) -> bool:
    peak = probe.peak_of(cost.dtype)
    if not probe.gigabytes or not peak or not cost.ns:
        return False
    near = _NEAR[0] <= cost.bytes / cost.ns / probe.gigabytes <= _NEAR[1]
    return near and cost.bytes / probe.gigabytes > cost.macs / peak


def _trial(cell: Observed, cost: OperatorCost, share: float) -> Trial:
    layer, name = cell.layer(cost), f"{cell.title(cost)} with 1/{_PART} of the bytes"
    if layer is not None and layer.shape.channels_out >= _PART:
        fewer = layer.shape.channels_out // _PART
        before, after = cell.copy(layer), cell.copy(layer, channels_out=fewer)
        expected = fewer / layer.shape.channels_out
        return Trial(name=name, before=before, after=after, expected=expected, scale=share)
    count = cost.bytes // _ADDITION_BYTES
    before, after = (cell.other(one_addition(n, cell.format)) for n in (count, count // _PART))
    return Trial(name=name, before=before, after=after, expected=1 / _PART, scale=share)

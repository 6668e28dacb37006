"""Processor without VNNI, dot product or i8mm: 8-bit integers are no faster than float there."""

from hemline.bench.causes.observation import Observation, Observed

_INTEGER = ("VNNI", "AMX", "dotprod", "i8mm")
_AS_FAST = 2.0  # × float: with such instructions it is about 4, without them about 1


def observe(cell: Observed) -> Observation | None:
    """See int8 layers in the best kernels where int8 reaches no more than float."""
    probe, left = cell.profile.probe, cell.undelegated
    layers = [each for each in cell.quantized if each not in left]
    if probe is None or not probe.float_gmacs or not probe.int8_gmacs or not layers:
        return None
    ratio = probe.int8_gmacs / probe.float_gmacs
    if ratio >= _AS_FAST or any(cell.features.get(each) for each in _INTEGER):
        return None
    lacks = " and ".join(each for each in _INTEGER if each in cell.features) or "VNNI or the like"
    return Observation(
        share=cell.share(layers),
        sentence=f"the processor lacks {lacks}: int8 reaches {ratio:.1f} × the rate of float",
        remedy="Use a float file or a smaller model on this processor.",
    )

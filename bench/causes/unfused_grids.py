"""Q/DQ not fused: a quantized graph computes in float, with conversions around each layer."""

from hemline.bench.causes.bypass import without_grids
from hemline.bench.causes.observation import Observation, Observed, Trial

_FLOAT = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
_GRIDS = ("QuantizeLinear", "DequantizeLinear", "QUANTIZE", "DEQUANTIZE")
_OUTSIDE = 2  # at the model's input and output


def observe(cell: Observed) -> Observation | None:
    """See conversions beside layers in float; in TFLite, where nothing fuses, their own time."""
    onnx, count = cell.format == "onnx", cell.profile.fusion.get
    grids = [each for each in cell.profile.operators if each.kind in _GRIDS]
    conversions = sum(count(each, 0) for each in _GRIDS) if onnx else len(grids)
    if conversions <= _OUTSIDE or (onnx and not any(map(count, _FLOAT))):
        return None
    if onnx:
        grids += [each for each in cell.profile.operators if each.kind in _FLOAT]
    return Observation(
        share=cell.share(grids),
        sentence=f"{conversions} conversions to and from 8 bits are not fused with its layers",
        remedy="Leave graph optimization on, and quantize the output of each layer.",
        trial=_trial(cell) if onnx else None,
    )


def _trial(cell: Observed) -> Trial:
    if cell.model.settings.optimization != "all":
        return Trial(name="full graph optimization", after=cell.reopened(optimization="all"))
    return Trial(name="the graph without them", after=cell.other(without_grids(cell)))

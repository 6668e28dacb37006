"""No fast quantized kernel in this runtime: layers of integers that only plain kernels compute."""

from hemline.bench.causes.observation import MATERIAL, Observation, Observed, Trial, kinds, slowest
from hemline.contract.profile import OperatorCost

_SLOW = 0.25  # of the rate that float reaches: half of what an ordinary layer in float does


def observe(cell: Observed) -> Observation | None:
    """See quantized layers that no delegate took over; suspect slow ones of ONNX Runtime."""
    onnx, probe, left = cell.format == "onnx", cell.profile.probe, cell.undelegated
    slow = _SLOW * ((probe and probe.float_gmacs) or 0.0)
    plain = [
        each
        for each in cell.quantized
        if each in left
        or (onnx and each.macs / (each.ns or 1) < slow and cell.share([each]) >= MATERIAL)
    ]
    if not plain:
        return None
    return Observation(
        share=cell.share(plain),
        sentence=f"its kernels for {plain[0].dtype} {kinds(plain)} are plain ones",
        suspected=onnx,
        remedy="Use a runtime or a delegate with fast ones, or another scheme.",
        trial=_trial(cell, slowest(plain), cell.share(plain)),
    )


def _trial(cell: Observed, cost: OperatorCost, share: float) -> Trial | None:
    """Return another delegate where one has such kernels; else the slowest layer in float."""
    layer = cell.layer(cost)
    if cell.model.settings.delegate == "builtin":
        return Trial(name="the runtime's own delegate", after=cell.reopened(delegate="default"))
    if layer is None:
        return None
    if cell.runtime == "tflite-runtime" and layer.shape.arithmetic == "int8":
        return Trial(name="XNNPACK int8", after=cell.reopened(delegate="xnnpack-int8"))
    before, after = cell.other(cell.alone[cost.name]), cell.copy(layer, arithmetic="float32")
    return Trial(name=f"{cell.title(cost)} in float", before=before, after=after, scale=share)

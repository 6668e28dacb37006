"""AMX tiles wasted on few channels: its kernels take as long for 1 input channel as for 64."""

from hemline.bench.causes.observation import Observation, Observed, Trial

_TILE = 64  # bytes in a row of a tile


def observe(cell: Observed) -> Observation | None:
    """Suspect int8 layers whose input channels fill half a tile at most."""
    refused = cell.model.settings.refused
    if not cell.features.get("AMX") or "amx" in refused:
        return None
    layers = [(each, cell.layer(each)) for each in cell.quantized]
    few = [each for each, layer in layers if layer and layer.shape.channels_in <= _TILE // 2]
    return Observation(
        share=cell.share(few),
        sentence=f"AMX computes {_TILE} input channels where its layers have fewer",
        remedy="Refuse AMX to the process, or keep the first layer in float.",
        trial=Trial(name="AMX refused", after=cell.reopened(refused=(*refused, "amx"))),
        suspected=True,
    )

"""The causes that the time of a cell is explained by."""

from __future__ import annotations

from typing import Literal, NamedTuple

Need = Literal["operators", "fusion", "probe", "processor"]


class Cause(NamedTuple):
    """A row of the CAUSES table; its key is the name in findings.

    summary: one line for tables.
    proof: what is changed to prove it; empty where nothing can be.
    observe: "module:function" from an Observed to an Observation or None.
    needs: what must be known of a cell beside its whole time.
    """

    summary: str
    proof: str
    observe: str
    needs: tuple[Need, ...] = ("operators",)


CAUSES: dict[str, Cause] = {
    "no-fast-kernel": Cause(
        "no fast quantized kernel in this runtime",
        "another delegate, or the slowest such layer in float",
        "hemline.bench.causes.no_fast_kernel:observe",
    ),
    "delegate": Cause(
        "delegate absent or split",
        "the runtime's own delegate, or the model without what it leaves",
        "hemline.bench.causes.delegate:observe",
    ),
    "processor": Cause(
        "processor without VNNI, dot product or i8mm",
        "",
        "hemline.bench.causes.processor:observe",
        ("operators", "probe"),
    ),
    "fixed-cost": Cause(
        "fixed cost or start-up dominates",
        "a model that computes nothing",
        "hemline.bench.causes.fixed_cost:observe",
        ("probe",),
    ),
    "amx-tiles": Cause(
        "AMX tiles wasted on few channels",
        "AMX refused to the process",
        "hemline.bench.causes.amx_tiles:observe",
        ("operators", "processor"),
    ),
    "padded-channels": Cause(
        "channel counts that pad",
        "the layer's shape with its channels cut to the multiple",
        "hemline.bench.causes.padded_channels:observe",
    ),
    "unfused-grids": Cause(
        "QDQ not fused",
        "full graph optimization, or the graph without Q/DQ",
        "hemline.bench.causes.unfused_grids:observe",
        ("operators", "fusion"),
    ),
    "memory-bound": Cause(
        "memory-bound",
        "the operator's shape with a part of its bytes",
        "hemline.bench.causes.memory_bound:observe",
        ("operators", "probe"),
    ),
    "accelerator": Cause(
        "accelerator not used", "", "hemline.bench.causes.accelerator:observe", ()
    ),
    "threads": Cause(
        "threads do not help", "one thread", "hemline.bench.causes.threads:observe", ()
    ),
}

"""Delegate absent or split: what it leaves runs in slower kernels, and its parts begin with copies.

Quantized layers that it leaves are another cause: no fast kernel.
"""

from hemline.bench.causes.bypass import without
from hemline.bench.causes.observation import Observation, Observed, Trial, kinds


def observe(cell: Observed) -> Observation | None:
    """See layers without any delegate, or operators that one left."""
    left = [each for each in cell.undelegated if each not in cell.quantized]
    parts = len(cell.profile.partitions)
    if not left or not (parts or any(each.macs for each in left)):
        return None
    if parts:
        seen = f"the delegate leaves {kinds(left)} to other kernels and runs {parts} parts"
        remedy, (changed, gone) = "Replace them by operators that it takes.", without(cell, left)
        trial = Trial(name=f"without {', '.join(gone)}", after=changed) if gone else None
    else:
        seen, remedy = "no delegate takes any of its operators", "Let the runtime use its delegate."
        own = cell.reopened(delegate="default")
        trial = None if own == cell.model else Trial(name="the runtime's own delegate", after=own)
    return Observation(share=cell.share(left), sentence=seen, remedy=remedy, trial=trial)

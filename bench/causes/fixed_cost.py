"""Fixed cost or start-up dominates: a call takes as long for a model that computes nothing."""

from hemline.bench.causes.observation import Observation, Observed, Trial
from hemline.bench.profiling.one_operator import nothing

_DOMINATES = 0.5  # more than all else together


def observe(cell: Observed) -> Observation | None:
    """See a fixed cost, of the probe, that is half of the whole time or more."""
    probe, whole = cell.profile.probe, cell.profile.whole_ns
    share = min(1.0, probe.fixed_ns / whole) if probe and whole else 0.0
    if share < _DOMINATES:
        return None
    return Observation(
        share=share,
        sentence=f"{100 * share:.0f} % of its time is the fixed cost of a call",
        remedy="Pass several images at a time; a faster model gains nothing.",
        # from nothing to the whole, which takes less than twice as long
        trial=Trial(
            name="its operators added to a model without any",
            before=cell.other(nothing(cell.format)),
            after=cell.model,
            limit=1 / _DOMINATES,
        ),
    )

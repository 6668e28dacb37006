"""Accelerator not used: the processor runs what was asked of a GPU."""

from hemline.bench.causes.observation import Observation, Observed

_PROCESSOR = (" instead of a GPU", " and processor")  # in what sessions report


def observe(cell: Observed) -> Observation | None:
    """Read what really runs: where no accelerator works, no change can prove it."""
    if not cell.delegate.endswith(_PROCESSOR):
        return None
    return Observation(
        share=1.0,
        sentence=f"it runs on {cell.delegate}",
        remedy="Measure without leave to fall back, to see what the GPU refuses.",
    )

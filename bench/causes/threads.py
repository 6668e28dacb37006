"""Threads do not help: waiting for each other costs what they save."""

from hemline.bench.causes.observation import MATERIAL, Observation, Observed, Trial


def observe(cell: Observed) -> Observation | None:
    """Suspect it of each cell with several threads, on a machine without other work."""
    if cell.threads == 1 or cell.loaded:  # others take the cores that threads would use
        return None
    return Observation(
        share=1 - 1 / cell.threads,  # what perfect threads would save
        sentence=f"{cell.threads} threads save less than {100 * MATERIAL:.0f} % of its time",
        remedy="Use one thread, or give several threads larger batches.",
        # they help where one thread takes that much longer
        trial=Trial(name="one thread", after=cell.model, threads=1, limit=1 + MATERIAL),
        suspected=True,
    )

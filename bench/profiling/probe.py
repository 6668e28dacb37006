"""What a runtime reaches on a device at most, by models of one operator."""

from __future__ import annotations

from hemline.bench.profiling.timing import ModelTimer
from hemline.contract.profile import Probe
from hemline.contract.settings import Settings


def probe(timer: ModelTimer, settings: Settings) -> Probe | None:
    """Return what the runtime of a timer reaches there with these settings.

    None where the device counts instructions.
    """
    del timer, settings
    return None

"""Decide from what the machine did whether a round says little."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from hemline.contract.job import HostActivity
from hemline.contract.record import RoundFacts

# Others that have one of two cores for a fifth of the time cost a few percent.
_MOST_BUSY = 0.1
_MOST_STOLEN = 0.03
# Turbo modes differ by up to a tenth with the number of cores that work.
_LEAST_FREQUENCY = 0.85


def facts_of(activities: Sequence[HostActivity]) -> RoundFacts:
    """Join the readings of a round, before it is judged."""
    counted = [each for each in activities if each.elapsed_ticks]
    frequencies = [each.frequency_khz for each in activities if each.frequency_khz is not None]
    throttled = [each.throttled for each in activities if each.throttled is not None]
    return RoundFacts(
        busy_share=_share(counted, [each.busy_ticks or 0 for each in counted]),
        stolen_share=_share(counted, [each.stolen_ticks or 0 for each in counted]),
        frequency_khz=int(statistics.median(frequencies)) if frequencies else None,
        throttled=any(throttled) if throttled else None,
        disturbed=None,
    )


def _share(activities: Sequence[HostActivity], ticks: Sequence[int]) -> float | None:
    elapsed = sum(each.elapsed_ticks or 0 for each in activities)
    return round(min(1.0, max(0.0, sum(ticks) / elapsed)), 4) if elapsed > 0 else None


def judged(rounds: Sequence[RoundFacts]) -> tuple[RoundFacts, ...]:
    """Say of each round of a run why it says little; frequencies are compared with the highest."""
    highest = max((each.frequency_khz or 0 for each in rounds), default=0)
    return tuple(replace(each, disturbed=_reason(each, highest)) for each in rounds)


def _reason(facts: RoundFacts, highest_khz: int) -> str | None:
    if facts.throttled:
        return "the processor was slowed down by heat or low voltage"
    if facts.stolen_share is not None and facts.stolen_share > _MOST_STOLEN:
        return f"the hypervisor took {100 * facts.stolen_share:.0f} % of the processor"
    if facts.busy_share is not None and facts.busy_share > _MOST_BUSY:
        return f"other processes used {100 * facts.busy_share:.0f} % of the processor"
    slow = facts.frequency_khz is not None and facts.frequency_khz < _LEAST_FREQUENCY * highest_khz
    if slow and facts.frequency_khz is not None:
        return f"it ran at {facts.frequency_khz / 1e6:.2f} GHz of {highest_khz / 1e6:.2f}"
    return None


def quietest(rounds: Sequence[RoundFacts], count: int) -> tuple[int, ...]:
    """Return the numbers of the rounds to keep, in order: quiet ones first, then the least busy."""

    def noise(number: int) -> tuple[bool, float]:
        facts = rounds[number]
        return facts.disturbed is not None, facts.busy_share or 0.0

    return tuple(sorted(sorted(range(len(rounds)), key=noise)[:count]))

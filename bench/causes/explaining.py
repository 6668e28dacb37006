"""Find the causes of a cell's time: observe, change what promises the most, time it, judge."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

from hemline.bench.causes.observation import MATERIAL, Observation, Observed, Trial
from hemline.bench.causes.table import CAUSES
from hemline.bench.devices.device import HERE
from hemline.bench.profiling.context import ProfileContext
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.contract.profile import Finding, Intervention, Profile
from hemline.doctor.processor import processor_features
from hemline.errors import DeviceError, HemlineError
from hemline.runtime.backends import attribute
from hemline.statistics import paired_ratio

_MOST_TRIALS = 3  # a cell: each takes 0.1 to 0.6 s
_ROUNDS, _LEVEL = 15, 0.99
_WIDE = 1 + 2 * MATERIAL  # an interval that hides a share as large
_BUSY = 0.5  # of a core, beside those that the cell uses

Try = Callable[[Trial], Intervention | None]  # None where it cannot be timed


def explain(profile: Profile, context: ProfileContext) -> Profile:
    """Return a profile with interventions and findings."""
    timer, host = context.timer, context.host
    known = Observed(
        profile=profile,
        model=context.model,
        format=timer.device.backend(timer.runtime).format,
        runtime=timer.runtime,
        threads=timer.threads,
        fallback=context.fallback,
        features=processor_features(host.machine) if timer.device.place == HERE else {},
        loaded=(host.load_average or 0) > timer.threads + _BUSY,
        alone=context.operators.alone,
    )
    with ExitStack() as stack:

        def try_it(trial: Trial) -> Intervention | None:
            other, threads = timer, trial.threads
            if threads is not None:
                other = ModelTimer(timer.device, timer.runtime, timer.version, threads=threads)
                stack.enter_context(other)
            turns = ((timer, trial.before or context.model), (other, trial.after))
            try:
                found = _timed(trial.name, *turns)
                # something else ran
                return found if found.high <= _WIDE * found.low else _timed(trial.name, *turns)
            except DeviceError:
                raise
            except HemlineError:  # what a runtime refuses proves nothing
                return None

        return explained(known, try_it)


def explained(cell: Observed, try_it: Try) -> Profile:
    """Return the profile with what `try_it` timed and what follows from it.

    No cause is named where the operators do not account for the whole time within 10 %.
    """
    if cell.profile.explained is None or abs(cell.profile.explained - 1) > MATERIAL:
        return cell.profile
    done: dict[str, Intervention] = {}
    fixed_ns = cell.profile.probe.fixed_ns if cell.profile.probe else 0
    findings = []
    for name, seen in sorted(_observations(cell), key=lambda each: -each[1].share):
        if seen.trial is not None and len(done) < _MOST_TRIALS and (result := try_it(seen.trial)):
            done[name] = result
        findings.append(_judged(name, seen, done.get(name), fixed_ns))
    named = sorted(filter(None, findings), key=lambda each: (not each.proven, -(each.share or 0)))
    return replace(cell.profile, interventions=tuple(done.values()), findings=tuple(named))


def _observations(cell: Observed) -> Iterator[tuple[str, Observation]]:
    profile = cell.profile
    known: dict[str, object] = {
        "operators": profile.operators,
        "fusion": profile.fusion or cell.format == "tflite",
        "probe": profile.probe,
        "processor": cell.features,
    }
    for name, cause in CAUSES.items():
        if all(known[need] for need in cause.needs):
            seen: Observation | None = attribute(cause.observe)(cell)
            if seen is not None and seen.share >= MATERIAL:
                yield name, seen


def _judged(
    cause: str, seen: Observation, done: Intervention | None, fixed_ns: int
) -> Finding | None:
    """Return the finding on a cause; None if a change refuted it, or if it was only suspected."""
    trial, share, sentence, proven = seen.trial, seen.share, seen.sentence, False
    supported = not seen.suspected
    if trial is not None and done is not None:
        expected = trial.expected
        if trial.before is not None:  # what it costs to call is in both
            expected += (1 - expected) * fixed_ns / done.before_ns
        gained = trial.scale * (1 - done.ratio / expected)
        if (gained < MATERIAL) if trial.limit is None else (done.ratio >= trial.limit):
            return None
        proven = done.changed and done.high < (trial.limit or expected)
        supported |= proven or trial.limit is not None
        share = gained if trial.limit is None else share
        sentence += f" ({trial.name}: {_us(done.after_ns)}, not {_us(done.before_ns)} µs)"
    if not supported:
        return None
    end = f"{sentence}."
    return Finding(cause=cause, proven=proven, sentence=end, remedy=seen.remedy, share=share)


def _us(ns: int) -> str:
    return f"{ns / 1e3:.0f}" if ns > 99_900 else f"{ns / 1e3:.1f}"


def _timed(name: str, *turns: tuple[ModelTimer, TimedModel]) -> Intervention:
    rounds: list[list[tuple[int, ...]]] = [[] for _ in turns]
    for _ in range(_ROUNDS):
        for taken, (timer, model) in zip(rounds, turns, strict=True):
            taken.extend(timer.time([model], rounds=1)[0].rounds_ns)
    before, after = (round(statistics.median(map(statistics.median, each))) for each in rounds)
    ratio, low, high = paired_ratio(rounds[0], rounds[1], _LEVEL)
    return Intervention(
        name=name, before_ns=before, after_ns=after, ratio=ratio, low=low, high=high
    )

"""Find the settings that make artifacts faster on a device, and stamp them into their bundles."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from hemline.bench.devices.device import Device
from hemline.bench.measuring.plan import (
    CellKey,
    MeasurementPlan,
    PlannedCell,
    key_of,
    planned_cells,
)
from hemline.bench.measuring.rounds import measure_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.tuning.options import options_for, threads_on
from hemline.contract import schema
from hemline.contract.conditions import cell_of, conditions_of
from hemline.contract.evaluation_set import SPLITS, load_split
from hemline.contract.job import Job, JobCell
from hemline.contract.manifest import MANIFEST_NAME, read_manifest
from hemline.contract.parity import check_parity
from hemline.contract.record import Latency, Record
from hemline.contract.settings import DEFAULT, Settings, TunedSettings
from hemline.errors import JobError, UsageError
from hemline.folders import TemporaryFolder
from hemline.progress import tracked
from hemline.provenance import utc_now
from hemline.statistics import paired_ratio

_SLOW = "int16"  # schemes without fast kernels anywhere: nobody ships them for speed
_LEAST_GAIN = 0.02  # a setting is one more thing that can break with a new version
_FEWEST_ROUNDS = 10  # of fewer a single outlier widens the interval beyond use
_LEVEL = 0.99  # several settings are tried, and the best of them is looked at
_DISTURBED = 0.25  # share of rounds: threads that others keep busy prove nothing
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Settings of an artifact in a runtime against the defaults.

    cell: the artifact with the settings.
    tuned: the same, as it is stamped where it wins.
    ratio, low, high: of the times, with these settings to with the defaults, and its 99 % interval.
    disturbed: whether other processes had the cores: then threads get no verdict.
    """

    cell: PlannedCell
    tuned: TunedSettings
    ratio: float
    low: float
    high: float
    disturbed: bool

    @property
    def faster(self) -> bool:
        """Return whether it gains more than the noise, and enough to be worth a setting."""
        return not self.disturbed and self.high < 1 and self.ratio <= 1 - _LEAST_GAIN


def tune(
    device: Device, subjects: Sequence[Subject], plan: MeasurementPlan, *, say: Say
) -> tuple[Trial, ...]:
    """Try settings of every fast artifact in every runtime where it passed; stamp what wins.

    Every setting is verified anew on the evaluation images; what fails there is left out. Raises
    UsageError for a device that measures no latencies of these runtimes.
    """
    host, able = device.host(), device.capabilities
    if host is None or not (able.latencies and able.raw_models):
        raise UsageError(f"{device.name} is not a processor whose runtimes have settings")
    if plan.settings != (DEFAULT,):
        raise UsageError(
            f"tuning chooses the settings itself: {plan.settings[0].text} cannot be set"
        )
    plan = replace(plan, threads=(1,), batches=(1,), runtimes=device.runtimes())
    # a process each, as those with several threads keep a core busy while they wait
    plan = replace(plan, rounds=max(plan.rounds, _FEWEST_ROUNDS), thorough=True)
    threads, cells = threads_on(host.cores), list[PlannedCell]()
    if (host.load_average or 0.0) > host.cores:
        say("other processes use all cores: several threads are not tried")
        threads = (1,)
    planned = [cell for subject in subjects for cell in planned_cells(subject, plan)]
    for cell in tracked(planned, len(planned), "verifying settings"):
        if cell.artifact.scheme.startswith(_SLOW):
            continue
        settings = [DEFAULT, *_verified(device, cell, say)]
        pairs = itertools.product(threads, settings)
        cells += [replace(cell, threads=count, settings=each) for count, each in pairs]
    measured = _measured(cells, device, plan, say)
    trials = tuple(
        _trial(cell, host.processor_kind, measured[_plain(cell).key], measured[cell.key])
        for cell in cells
        if cell.key != _plain(cell).key and {cell.key, _plain(cell).key} <= measured.keys()
    )
    for subject in subjects:
        _stamp(subject, [t for t in trials if t.cell.subject is subject])
    return trials


def winners(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the fastest trial of each artifact and runtime, of those that gain anything.

    More threads win only where they are faster, by more than the noise, than the best with fewer.
    """
    best: dict[CellKey, Trial] = {}
    for trial in sorted(
        (each for each in trials if each.faster), key=lambda t: (t.cell.threads, t.ratio)
    ):
        before = best.setdefault(_plain(trial.cell).key, trial)
        if trial.cell.threads > before.cell.threads and trial.high < before.ratio:
            best[_plain(trial.cell).key] = trial
    return tuple(best.values())


def _plain(cell: PlannedCell) -> PlannedCell:
    return replace(cell, threads=1, settings=DEFAULT)


def _measured(
    cells: Sequence[PlannedCell], device: Device, plan: MeasurementPlan, say: Say
) -> dict[CellKey, Latency]:
    """Return the latencies of the cells that did not fail; keep all records in the bundles."""
    found: dict[CellKey, Latency] = {}

    def keep(subject: Subject, records: Iterable[Record]) -> None:
        fresh = list(records)
        subject.append(fresh)
        for record in fresh:
            if isinstance(record.payload, Latency):
                found[key_of(subject.bundle, record.cell)] = record.payload

    try:
        measure_cells(cells, device, plan, keep=keep, progress=say)
    except JobError:
        if not found:  # else it was reported, and costs its own cell only
            raise
    return found


def _verified(device: Device, cell: PlannedCell, say: Say) -> Iterator[Settings]:
    """Yield the settings with which a cell passes the parity check; keep its accuracies."""
    for settings in options_for(cell.artifact, cell.runtime):
        try:
            records = _check(device, replace(cell, settings=settings))
        except JobError as error:
            say(f"{cell.title}, {settings.text}: {error}")
            continue
        cell.subject.append(records)
        yield settings


def _check(device: Device, cell: PlannedCell) -> list[Record]:
    subject, artifact, records = cell.subject, cell.artifact, list[Record]()
    with device.open(cell.runtime, cell.version) as runner, TemporaryFolder() as arrays:
        for name in SPLITS:
            split = load_split(subject.bundle, name, subject.manifest.evaluation_sha256)
            job = Job(
                id=name,
                artifact=str(subject.bundle / artifact.name),
                runtime=cell.runtime,
                images=str(split.images_path),
                cells=(JobCell(settings=cell.settings),),
                arrays=arrays,
                allow_unsupported=True,  # it passed there
            )
            result = runner.run(job)
            if result.failure is not None:
                raise JobError(result.failure.message)
            logits = result.logits()
            parity = check_parity(logits, split.logits, artifact.output, artifact.bounds)
            if not parity.passed:
                raise JobError(parity.reason)
            of = cell_of(
                subject.manifest, artifact, result, device=device.name, settings=cell.settings
            )
            accuracy = split.accuracy(logits)
            records.append(Record(cell=of, conditions=conditions_of(result), payload=accuracy))
    return records


def _trial(cell: PlannedCell, processor: str, before: Latency, after: Latency) -> Trial:
    ratio, low, high = paired_ratio(before.rounds_ns, after.rounds_ns, _LEVEL)
    disturbed = sum(facts.disturbed is not None for facts in after.facts)
    tuned = TunedSettings(
        processor=processor,
        artifact_sha256=cell.artifact.sha256,
        runtime=cell.runtime,
        version=cell.version,
        threads=cell.threads,
        settings=cell.settings,
        before_ns=_median(before),
        after_ns=_median(after),
        date=utc_now(),
    )
    return Trial(
        cell=cell,
        tuned=tuned,
        ratio=ratio,
        low=low,
        high=high,
        disturbed=cell.threads > 1 and disturbed > _DISTURBED * len(after.facts),
    )


def _median(latency: Latency) -> int:
    return round(statistics.median(itertools.chain.from_iterable(latency.rounds_ns)))


def _stamp(subject: Subject, trials: Sequence[Trial]) -> None:
    """Write the winners into a manifest, in place of what was tuned for the same before."""
    manifest = read_manifest(subject.bundle)
    anew = {_tuned_for(trial.tuned) for trial in trials}
    old = [tuned for tuned in manifest.tuned if _tuned_for(tuned) not in anew]
    tuned = (*old, *(trial.tuned for trial in winners(trials)))
    schema.save(subject.bundle / MANIFEST_NAME, replace(manifest, tuned=tuned))


def _tuned_for(tuned: TunedSettings) -> tuple[str, ...]:
    return (tuned.processor, tuned.artifact_sha256, tuned.runtime, tuned.version)

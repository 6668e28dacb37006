"""Bench one device as far as it can tell: answers, and time, instructions or arena where real.

What is measured is kept piece by piece: a device that is lost has lost what was under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hemline.bench.devices import Device
from hemline.bench.devices.checking import Check, check, nothing, only_right, require_right
from hemline.bench.devices.emulation.device import EmulatedDevice
from hemline.bench.devices.emulation.examination import examine
from hemline.bench.devices.local import LocalDevice
from hemline.bench.devices.ssh.device import SshDevice
from hemline.bench.measuring.rounds import CellKey, Plan, cells_of, key_of, measure
from hemline.contract.manifest import Manifest
from hemline.contract.record import (
    RECORDS_NAME,
    Instructions,
    Latency,
    Memory,
    Record,
    read_records,
)
from hemline.errors import HemlineError
from hemline.host import host_facts

Say = Callable[[str], None]
_NOTHING = "nothing is missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done on every device.

    plan: how to measure latencies.
    resume: whether what was measured before, in as many rounds, in this version and on a processor
        of this name, stays.
    stop: raises when the user has enough.
    """

    plan: Plan
    resume: bool = False
    stop: Callable[[], None] = nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is known of one device at the end: nothing older than this run but what it resumed.

    write: adds records to the bundle.
    say: for progress.
    tell: for what was found.
    records: of this run, and those that --resume left as they are.
    wrong: (artifact, runtime, version) of what is wrong there.
    """

    write: Callable[[Iterable[Record]], object]
    say: Say
    tell: Say
    records: list[Record] = field(default_factory=list)
    wrong: set[tuple[str, str, str]] = field(default_factory=set)

    def keep(self, records: Iterable[Record]) -> None:
        """Write records of this run."""
        fresh = list(records)
        self.write(fresh)
        self.records.extend(fresh)

    def judge(self, seen: Check) -> None:
        """Keep what was checked."""
        self.keep(seen.records)
        if seen.status == "failed":
            self.wrong.add((seen.artifact, seen.runtime, seen.version))


def bench_device(
    device: Device, bundle: Path, manifest: Manifest, work: Work, account: Account
) -> None:
    """Bench a device and give what comes of it to its account.

    Raises GateError when an artifact is wrong there, JobError for cells that failed or a device
    that was lost, HemlineError when there is nothing to do; what came before was kept.
    """
    bench = _Bench(
        device=device,
        bundle=bundle,
        manifest=manifest,
        work=work,
        account=account,
        before=_before(bundle, device) if work.resume else [],
    )
    if isinstance(device, EmulatedDevice):  # its wall times are no latencies
        bench.count(device)
    elif isinstance(device, LocalDevice):  # `verify` has checked what runs here
        bench.measure(manifest, work.plan)
    else:
        bench.check_and_measure()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """One device at work.

    device, bundle, manifest, work, account: what bench_device was given.
    before: records of earlier runs that may stay; none without --resume.
    """

    device: Device
    bundle: Path
    manifest: Manifest
    work: Work
    account: Account
    before: list[Record]

    def check_and_measure(self) -> None:
        """Check every artifact, and measure what is right."""
        device, account = self.device, self.account
        plan = replace(self.work.plan, runtimes=device.runtimes())
        wanted = set(cells_of(self.manifest, plan))
        if self.before and device.real_time and wanted <= _timed(self.before, plan):
            account.records.extend(self.before)
            account.say(_NOTHING)
            return
        checks = check(
            self.bundle,
            self.manifest,
            device,
            stop=self.work.stop,
            keep=account.judge,
            say=account.tell,
        )
        try:
            if device.real_time and any(each.status == "passed" for each in checks):
                self.measure(only_right(self.manifest, checks), plan)
        except HemlineError:
            # what is wrong there matters more than what was not measured
            require_right(checks, device)
            raise
        require_right(checks, device)

    def measure(self, manifest: Manifest, plan: Plan) -> None:
        """Measure what a manifest has as right, but for the cells that were measured before."""
        done = _timed(self.before, plan)
        self.account.records.extend(
            record
            for record in self.before
            if isinstance(record.payload, Latency | Memory) and key_of(record.cell) in done
        )
        if done and set(cells_of(manifest, plan)) <= done:
            self.account.say(_NOTHING)
            return
        measure(
            self.bundle,
            manifest,
            self.device,
            plan,
            skip=done,
            stop=self.work.stop,
            keep=self.account.keep,
            say=self.account.say,
        )

    def count(self, device: EmulatedDevice) -> None:
        """Check and count what was found right here, but for the cells that were counted before."""
        counted = {key_of(r.cell) for r in self.before if isinstance(r.payload, Instructions)}
        self.account.records.extend(r for r in self.before if key_of(r.cell) in counted)
        missing = set(cells_of(self.manifest, Plan(runtimes=device.runtimes()))) - counted
        if counted and not missing:
            self.account.say(_NOTHING)
            return
        checks = examine(
            self.bundle,
            self.manifest,
            device,
            wanted=lambda artifact, *runtime: (artifact.sha256, *runtime, 1, 1) in missing,
            stop=self.work.stop,
            keep=self.account.judge,
            say=self.account.tell,
        )
        require_right(checks, device)


def _before(bundle: Path, device: Device) -> list[Record]:
    """Return the records of a device that were made on a processor like the one it has now."""
    path = bundle / RECORDS_NAME
    records = read_records(path) if path.exists() else ()
    mine = [record for record in records if record.cell.device == device.name]
    if isinstance(device, EmulatedDevice) or not mine:
        return mine
    facts = device.facts() if isinstance(device, SshDevice) else host_facts()
    return [record for record in mine if record.conditions.host.processor == facts.processor]


def _timed(records: Iterable[Record], plan: Plan) -> frozenset[CellKey]:
    return frozenset(
        key_of(record.cell)
        for record in records
        if isinstance(record.payload, Latency) and len(record.payload.rounds_ns) >= plan.rounds
    )

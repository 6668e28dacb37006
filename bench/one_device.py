"""Bench one device as far as it can tell: answers, and time, instructions or arena where real.

What is measured is kept piece by piece: a device that is lost has lost what was under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hemline.bench.devices import Device
from hemline.bench.devices.checking import Check, check, nothing, only_right, require_right
from hemline.bench.devices.emulated import EmulatedDevice
from hemline.bench.devices.examination import examine
from hemline.bench.devices.local import LocalDevice
from hemline.bench.devices.ssh import SshDevice
from hemline.bench.measuring import CellKey, Plan, cells_of, measure
from hemline.errors import HemlineError
from hemline.manifest import Manifest
from hemline.record import RECORDS_NAME, Instructions, Latency, Memory, Record, read_records
from hemline.runtime.host import host_facts

Say = Callable[[str], None]


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

    def judge(self, checks: Iterable[Check]) -> None:
        """Keep what was checked."""
        for each in checks:
            self.keep(each.records)
            if each.status == "wrong":
                self.wrong.add((each.artifact, each.runtime, each.version))


def bench_device(
    device: Device, bundle: Path, manifest: Manifest, work: Work, account: Account
) -> None:
    """Bench a device and give what comes of it to its account.

    Raises GateError when an artifact is wrong there, JobError for cells that failed or a device
    that was lost, HemlineError when there is nothing to do; what came before was kept.
    """
    before = _before(bundle, device) if work.resume else []
    if isinstance(device, EmulatedDevice):  # its wall times are no latencies
        _count(device, bundle, manifest, work, account, before)
    elif isinstance(device, LocalDevice):  # `verify` has checked what runs here
        _measure(device, bundle, manifest, work, account, before)
    else:
        plan = replace(work.plan, runtimes=device.runtimes())
        _check_and_measure(device, bundle, manifest, replace(work, plan=plan), account, before)


def _check_and_measure(
    device: Device,
    bundle: Path,
    manifest: Manifest,
    work: Work,
    account: Account,
    before: list[Record],
) -> None:
    wanted = set(cells_of(manifest, work.plan))
    if before and device.real_time and wanted <= _timed(before, work.plan):
        account.records.extend(before)
        account.say("nothing is missing")
        return
    checks = check(bundle, manifest, device, stop=work.stop, say=account.tell)
    account.judge(checks)
    right = only_right(manifest, checks)
    try:
        if device.real_time and any(each.status == "right" for each in checks):
            _measure(device, bundle, right, work, account, before)
    except HemlineError:
        require_right(checks, device)  # what is wrong there matters more than what was not measured
        raise
    require_right(checks, device)


def _measure(
    device: Device,
    bundle: Path,
    manifest: Manifest,
    work: Work,
    account: Account,
    before: list[Record],
) -> None:
    done = _timed(before, work.plan)
    account.records.extend(
        r for r in before if isinstance(r.payload, Latency | Memory) and _key(r) in done
    )
    if done and set(cells_of(manifest, work.plan)) <= done:
        account.say("nothing is missing")
        return
    measure(
        bundle,
        manifest,
        device,
        work.plan,
        skip=done,
        stop=work.stop,
        keep=account.keep,
        say=account.say,
    )


def _count(
    device: EmulatedDevice,
    bundle: Path,
    manifest: Manifest,
    work: Work,
    account: Account,
    before: list[Record],
) -> None:
    counted = {_key(record) for record in before if isinstance(record.payload, Instructions)}
    account.records.extend(record for record in before if _key(record) in counted)
    runtimes = device.runtimes()
    missing = [
        artifact.name
        for artifact in manifest.artifacts
        if any(
            artifact.status_in(*runtime) == "right"
            and (artifact.sha256, *runtime, 1, 1) not in counted
            for runtime in runtimes
        )
    ]
    if counted and not missing:
        account.say("nothing is missing")
        return
    checks: list[Check] = []
    for name in missing or [""]:  # of nothing, examine says why
        one = replace(manifest, artifacts=tuple(a for a in manifest.artifacts if a.name == name))
        found = examine(bundle, one, device, stop=work.stop, say=account.tell)
        account.judge(found)
        checks += found
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
        _key(record)
        for record in records
        if isinstance(record.payload, Latency) and len(record.payload.rounds_ns) >= plan.rounds
    )


def _key(record: Record) -> CellKey:
    cell = record.cell
    runtime = (cell.runtime, cell.runtime_version)
    return (cell.artifact_sha256, *runtime, cell.threads, cell.batch)

"""Bench one device as far as it can tell: answers, and time, instructions or arena where real.

What is measured is kept piece by piece: a device that is lost has lost what was under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from hemline.bench.devices import Device
from hemline.bench.devices.checking import Check, check, only_right, require_right
from hemline.bench.devices.emulated import EmulatedDevice
from hemline.bench.devices.examination import examine
from hemline.bench.devices.local import LocalDevice
from hemline.bench.measuring import CellKey, Plan, cells_of, measure
from hemline.manifest import Manifest
from hemline.record import RECORDS_NAME, Instructions, Latency, Record, read_records

Keep = Callable[[Iterable[Record]], object]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done on every device.

    plan: how to measure latencies.
    resume: whether what was measured before, in as many rounds and in this version, stays.
    """

    plan: Plan
    resume: bool = False


def bench_device(
    device: Device, bundle: Path, manifest: Manifest, work: Work, *, keep: Keep, say: Say, tell: Say
) -> None:
    """Bench a device; give its records to `keep` as they come, and what was found to `tell`.

    Raises GateError when an artifact is wrong there, JobError for cells that failed or a device
    that was lost, HemlineError when there is nothing to do; what came before was kept.
    """
    done = _done(bundle, device, work.plan) if work.resume else frozenset()
    if isinstance(device, EmulatedDevice):  # its wall times are no latencies
        _count(device, bundle, manifest, work, keep=keep, say=say, tell=tell)
        return
    plan = work.plan
    checks = None
    if not isinstance(device, LocalDevice):  # `verify` has checked what runs here
        plan = replace(plan, runtimes=device.runtimes())
        if work.resume and device.real_time and _complete(manifest, plan, done):
            say("nothing is missing")
            return
        checks = check(bundle, manifest, device, say=tell)
        keep(record for each in checks for record in each.records)
        manifest = only_right(manifest, checks)
        if all(each.status != "right" for each in checks) or not device.real_time:
            require_right(checks, device)
            return
    if _complete(manifest, plan, done) and done:
        say("nothing is missing")
    else:
        measure(bundle, manifest, device, plan, skip=done, keep=keep, say=say)
    if checks is not None:
        require_right(checks, device)


def _count(
    device: EmulatedDevice,
    bundle: Path,
    manifest: Manifest,
    work: Work,
    *,
    keep: Keep,
    say: Say,
    tell: Say,
) -> None:
    counted = _counted(bundle, device) if work.resume else set()
    runtimes = device.runtimes()
    missing = [
        artifact.name
        for artifact in manifest.artifacts
        if any(
            artifact.status_in(*runtime) == "right" and (artifact.sha256, *runtime) not in counted
            for runtime in runtimes
        )
    ]
    if counted and not missing:
        say("nothing is missing")
        return
    checks: list[Check] = []
    for name in missing or [""]:  # of nothing, examine says why
        one = replace(manifest, artifacts=tuple(a for a in manifest.artifacts if a.name == name))
        found = examine(bundle, one, device, say=tell)
        keep(record for each in found for record in each.records)
        checks += found
    require_right(checks, device)


def _records(bundle: Path, device: Device) -> list[Record]:
    path = bundle / RECORDS_NAME
    records = read_records(path) if path.exists() else ()
    return [record for record in records if record.cell.device == device.name]


def _done(bundle: Path, device: Device, plan: Plan) -> frozenset[CellKey]:
    return frozenset(
        (
            r.cell.artifact_sha256,
            r.cell.runtime,
            r.cell.runtime_version,
            r.cell.threads,
            r.cell.batch,
        )
        for r in _records(bundle, device)
        if isinstance(r.payload, Latency) and len(r.payload.rounds_ns) >= plan.rounds
    )


def _counted(bundle: Path, device: Device) -> set[tuple[str, str, str]]:
    return {
        (r.cell.artifact_sha256, r.cell.runtime, r.cell.runtime_version)
        for r in _records(bundle, device)
        if isinstance(r.payload, Instructions)
    }


def _complete(manifest: Manifest, plan: Plan, done: frozenset[CellKey]) -> bool:
    return set(cells_of(manifest, plan)) <= done

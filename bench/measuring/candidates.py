"""Time what a bundle has on one device, for a choice within a budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hemline.bench.choosing import may_ship
from hemline.bench.devices.device import Device
from hemline.bench.latency_summary import summarize
from hemline.bench.measuring.device_bench import BenchRequest
from hemline.bench.measuring.fleet import bench_fleet
from hemline.bench.measuring.plan import QUICK
from hemline.bench.measuring.subject import Subject
from hemline.contract.budget import Candidate
from hemline.contract.manifest import Manifest
from hemline.contract.record import RECORDS_NAME, Accuracy, Latency, Record, newest, read_records
from hemline.contract.stamp import read_stamped


def timed_candidates(
    device: Device, bundle: Path, manifest: Manifest, say: Callable[[str], None]
) -> tuple[Candidate, ...]:
    """Return every file in every supported runtime where it passed, with its median latency.

    The loss is that of verification on validation images; without labels, the share of them that
    the file gives another label. What was timed before is not timed again. Raises HemlineError
    where the device is lost or a file fails on it.
    """
    subject = Subject(bundle=bundle, manifest=manifest)
    request = BenchRequest(plan=QUICK, resume=True)
    (result,) = bench_fleet([device], [subject], request, progress=say, report=say)
    if result.error is not None:
        raise result.error
    verified = newest(read_records(bundle / RECORDS_NAME))
    return tuple(
        Candidate(
            artifact=record.cell.artifact,
            runtime=record.cell.runtime,
            size_bytes=record.cell.size_bytes,
            drop_points=_drop_points(verified, record),
            median_us=summarize(record.payload).median_us,
        )
        for record in result.records
        if isinstance(record.payload, Latency) and _may_ship(device, bundle, manifest, record)
    )


def _may_ship(device: Device, bundle: Path, manifest: Manifest, record: Record) -> bool:
    if device.capabilities.verified_here:
        return may_ship(bundle, manifest, record.cell)
    cell = record.cell  # it passed the check on the device
    stamp = read_stamped(bundle / cell.artifact).stamp
    return stamp.supports(cell.runtime, cell.runtime_version)


def _drop_points(records: tuple[Record, ...], timed: Record) -> float | None:
    """Return the loss of a file, in the runtime that it was timed in or else in another."""
    found = {
        record.cell.runtime: record.payload
        for record in records
        if record.cell.artifact_sha256 == timed.cell.artifact_sha256
        and isinstance(record.payload, Accuracy)
        and record.payload.split == "validation"
    }
    payload = found.get(timed.cell.runtime) or next(iter(found.values()), None)
    if payload is None or payload.drop_points is not None:
        return None if payload is None else payload.drop_points
    return 100 * (1 - payload.agreement / payload.images)

"""Time what a bundle has on one device, for a choice within a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hemline.bench.choosing import may_ship
from hemline.bench.comparison import Comparison, Row, candidate_of
from hemline.bench.devices.device import Device
from hemline.bench.measuring.device_bench import BenchRequest
from hemline.bench.measuring.fleet import bench_fleet
from hemline.bench.measuring.plan import QUICK
from hemline.bench.measuring.subject import Subject
from hemline.bench.records import compared
from hemline.contract.budget import Candidate
from hemline.contract.manifest import Manifest


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
    comparison = compared([subject], device.name)
    return tuple(
        _candidate(comparison, row)
        for row in comparison.rows
        if row.is_measured and may_ship(bundle, manifest, row.cell)
    )


def _candidate(comparison: Comparison, row: Row) -> Candidate:
    found, seen = candidate_of(comparison, row), row.validation
    if found.drop_points is not None:
        return found
    return replace(found, drop_points=100 * (1 - seen.agreement / seen.images))

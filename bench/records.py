"""The records of a bundle that count now: of its present artifacts, on the present host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hemline.bench.comparison import Comparison, ModelRecords, compare_models
from hemline.bench.costs import COSTS
from hemline.bench.devices.addresses import address_of
from hemline.bench.devices.device import Device
from hemline.bench.measuring.plan import MeasurementPlan, cells_of, measured_cells
from hemline.bench.measuring.subject import Subject
from hemline.contract.evaluation_set import load_labels
from hemline.contract.record import LOCAL, RECORDS_NAME, Record, newest, read_records
from hemline.data.datasets import title_of
from hemline.errors import UsageError, remedy


def compared(
    subjects: Sequence[Subject], device: str = LOCAL, *, every_version: bool = False
) -> Comparison:
    """Compare the artifacts of bundles on a device, as they are now.

    Records of older files are out of date. The bundles were judged on the same images
    (same_images.py). Raises UsageError when there are no records or nothing was measured on the
    device, HemlineError as compare_models does.
    """
    models = [
        _records_of(subject, name)
        for subject, name in zip(subjects, names_of(subjects), strict=True)
    ]
    require_measured(subjects, device)
    return compare_models(models, device=device, every_version=every_version)


def measured_devices(subjects: Sequence[Subject]) -> tuple[str, ...]:
    """Return the devices that artifacts were measured on, this machine first."""
    records = (record for subject in subjects for record in current_records(subject))
    names = (r.cell.device for r in records if isinstance(r.payload, COSTS))
    return tuple(dict.fromkeys((LOCAL, *names)))


def require_measured(subjects: Sequence[Subject], device: str) -> None:
    """Raise UsageError where nothing was measured on another device than this machine.

    UnknownNameError where there is no such device.
    """
    if device not in measured_devices(subjects):
        address_of(device)
        file = getattr(device, "registry", None)  # of a fleet
        named = f"@{file}" if file else device
        raise UsageError(
            f"nothing was measured on {device}",
            remedy=remedy("bench on device", bundle=subjects[0].bundle, device=named),
        )


def names_of(subjects: Sequence[Subject]) -> list[str]:
    """Return the names of the models, with their bundle where two have the same name."""
    models = [subject.manifest.model for subject in subjects]
    folders = [subject.bundle.name.removesuffix(".bench") for subject in subjects]
    return [
        model
        if models.count(model) == 1
        else f"{model} ({folder if folders.count(folder) == 1 else subject.bundle})"
        for model, folder, subject in zip(models, folders, subjects, strict=True)
    ]


def _records_of(subject: Subject, name: str) -> ModelRecords:
    bundle, manifest = subject.bundle, subject.manifest
    return ModelRecords(
        name=name,
        records=current_records(subject),
        has_source=manifest.source is not None,
        dataset=title_of(manifest.dataset),
        classes=manifest.labels,
        labels=load_labels(bundle, "test", manifest.evaluation_sha256),
    )


def current_records(subject: Subject) -> tuple[Record, ...]:
    """Return the records of the present artifacts; raises UsageError when there are no records."""
    bundle, manifest = subject.bundle, subject.manifest
    current = {artifact.sha256 for artifact in manifest.artifacts} | {manifest.parent_sha256}
    path = bundle / RECORDS_NAME
    records = read_records(path) if path.exists() else ()
    records = tuple(r for r in records if r.cell.artifact_sha256 in current)
    if not records:
        raise UsageError(f"{bundle} has no records", remedy=remedy("verify", bundle=bundle))
    return records


def records_on(bundle: Path, device: Device) -> tuple[Record, ...]:
    """Return the newest records of a device, made on a host like the one that it has now."""
    path = bundle / RECORDS_NAME
    records = newest(read_records(path)) if path.exists() else ()
    mine = tuple(record for record in records if record.cell.device == device.name)
    host = device.host() if mine else None
    return tuple(r for r in mine if host is None or r.cell.host == host.name)


def is_measured(subject: Subject, device: Device, plan: MeasurementPlan) -> bool:
    """Return whether every cell of a plan was measured on this device as thoroughly as it asks."""
    subject = replace(subject, manifest=device.supported(subject.manifest))
    wanted = set(cells_of(subject, replace(plan, runtimes=device.runtimes())))
    bundle = subject.bundle
    return bool(wanted) and wanted <= measured_cells(bundle, records_on(bundle, device), plan)

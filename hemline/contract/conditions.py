"""Derive the cell and the conditions of a record from a job result."""

from __future__ import annotations

from hemline.contract.job import JobResult
from hemline.contract.manifest import Artifact, Manifest
from hemline.contract.record import Cell, Conditions
from hemline.contract.settings import DEFAULT, Settings
from hemline.provenance import commit, utc_now, versions


def cell_of(
    manifest: Manifest,
    artifact: Artifact,
    result: JobResult,
    *,
    threads: int = 1,
    batch: int = 1,
    device: str = "local",
    settings: Settings = DEFAULT,
) -> Cell:
    """Return the cell of an artifact that a job ran."""
    return Cell(
        model=manifest.model,
        artifact=artifact.name,
        artifact_sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        runtime=result.runtime,
        runtime_version=result.runtime_version,
        threads=threads,
        batch=batch,
        device=device,
        host=result.host.name,
        settings=settings,
    )


def conditions_of(result: JobResult) -> Conditions:
    """Return the conditions that a job ran under, with the delegate of its first cell."""
    return Conditions(
        host=result.host,
        delegate=result.cells[0].delegate,
        versions={
            **versions(()),
            "numpy": result.numpy_version,
            "python": result.python_version,
            result.runtime: result.runtime_version,
        },
        commit=commit(),
        date=utc_now(),
    )

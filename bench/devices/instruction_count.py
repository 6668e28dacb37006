"""Count the machine instructions of one inference: a cost that no neighbour and no load changes.

It tells kernels and models apart on one processor model. It is no latency: a processor runs several
instructions in one cycle or waits for memory, and two processors differ in both.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hemline.attribution import cell_of, conditions_of
from hemline.bench.devices.emulated import EmulatedDevice, EmulatedRunner
from hemline.bench.devices.equality import require, validation_images
from hemline.job import Job, JobCell
from hemline.manifest import Artifact, Manifest
from hemline.record import Instructions, Record

# The first ones fill caches and grow tables; after that, counts differ by 1 in 10,000 at most.
_WARMUP = 3
_INVOCATIONS = 9  # an odd number: the median is then one of the counts


def count_instructions(
    runner: EmulatedRunner,
    device: EmulatedDevice,
    bundle: Path,
    manifest: Manifest,
    artifact: Artifact,
    runtime: str,
) -> Record:
    """Count one artifact with one thread at batch 1: set the input, invoke, get the output.

    Raises JobError when it does not run there.
    """
    job = Job(
        id="count",
        artifact=str(bundle / artifact.name),
        runtime=runtime,
        images=validation_images(bundle),
        count=_INVOCATIONS,
        cells=(JobCell(warmup=_WARMUP, invocations=_INVOCATIONS),),
        want=("latencies",),
    )
    result = require(runner.run(job), f"{artifact.name} in {runtime} on {device.name}")
    conditions = conditions_of(result)
    return Record(
        cell=cell_of(manifest, artifact, result, device=device.name),
        conditions=replace(conditions, versions={**conditions.versions, **device.versions}),
        payload=Instructions(
            # the emulated clock counts instructions
            per_inference=statistics.median_high(result.cells[0].latencies_ns),
            processor=device.pi.processor,
        ),
    )


def instruction_rows(records: Iterable[Record]) -> list[list[str]]:
    """Return a header and one row for each artifact and runtime: millions, by device."""
    counted = [(r.cell, r.payload) for r in records if isinstance(r.payload, Instructions)]
    devices = list(dict.fromkeys(cell.device for cell, _ in counted))
    figures: dict[tuple[str, str], dict[str, int]] = {}
    for cell, payload in counted:
        key = (cell.artifact, f"{cell.runtime} {cell.runtime_version}")
        figures.setdefault(key, {})[cell.device] = payload.per_inference
    rows = [[*key, *_millions(found, devices)] for key, found in figures.items()]
    return [["artifact", "runtime", *(name.partition(":")[2] for name in devices)], *rows]


def _millions(found: dict[str, int], devices: Sequence[str]) -> list[str]:
    return [f"{found[name] / 1e6:.3f}" if name in found else "" for name in devices]

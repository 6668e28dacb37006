"""Count the machine instructions of one inference: a cost that no neighbour and no load changes.

It compares kernels and models on one processor model. It is not a latency: a processor runs several
instructions in one cycle or waits for memory, and two processors differ in both.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

from hemline.bench.devices.device import Device
from hemline.bench.devices.equality import validation_images
from hemline.bench.devices.inspection import Runner
from hemline.contract.conditions import cell_of, conditions_of
from hemline.contract.job import Job, JobCell
from hemline.contract.manifest import Artifact, Manifest
from hemline.contract.record import Instructions, Record

# The first ones fill caches and grow tables; after that, counts differ by 1 in 3,000 at most.
_WARMUP = 20
_INVOCATIONS = 9  # an odd number: the median is then one of the counts


def count_instructions(
    runner: Runner,
    device: Device,
    bundle: Path,
    manifest: Manifest,
    artifact: Artifact,
    runtime: str,
) -> tuple[Record, ...]:
    """Count one artifact with one thread at batch 1: set the input, invoke, get the output.

    A runner that has run nothing before gives the same count every time. Returns no record for an
    artifact that does not run there; raises JobError for a runner that dies.
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
    result = runner.run(job)
    if result.failure is not None:
        return ()
    conditions = conditions_of(result)
    record = Record(
        cell=cell_of(manifest, artifact, result, device=device.name),
        conditions=replace(conditions, versions={**conditions.versions, **device.versions()}),
        payload=Instructions(
            # the emulated clock counts instructions
            per_inference=statistics.median_high(result.cells[0].latencies_ns),
            processor=device.processor,
        ),
    )
    return (record,)

"""Accelerator not used: the processor runs what was asked of a GPU."""

from hemline.bench.causes.observation import Observation, Observed
from hemline.bench.devices.device import Device
from hemline.bench.measuring.plan import PlannedCell
from hemline.contract.evaluation_set import load_split
from hemline.contract.job import Job, JobCell

_INSTEAD = " instead of a GPU"  # in what sessions report


def observe(cell: Observed) -> Observation | None:
    """Read what really runs: where no accelerator works, no change can prove it."""
    return (
        Observation(
            share=1.0,
            sentence=f"it runs on {cell.fallback}",
            remedy="Measure without fallback, to see why the GPU rejects it.",
        )
        if cell.fallback
        else None
    )


def fallback_of(device: Device, cell: PlannedCell) -> str:
    """Return what runs all of a cell instead of a GPU; empty where a GPU runs it or nothing does.

    Raises JobError where its job runner ends, DeviceError when the device was lost.
    """
    subject = cell.subject
    images = load_split(subject.bundle, "test", subject.manifest.evaluation_sha256).images_path
    job = Job(
        id="fallback",
        artifact=str(subject.bundle / cell.artifact.name),
        runtime=cell.runtime,
        images=str(images),
        count=1,
        cells=(JobCell(threads=cell.threads, settings=cell.settings),),
        want=("latencies",),
        allow_unsupported=True,
    )
    with device.open(cell.runtime, cell.version) as runner:
        found = runner.run(job).cells
    return found[0].delegate if found and found[0].delegate.endswith(_INSTEAD) else ""

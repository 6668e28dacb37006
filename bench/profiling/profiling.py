"""Profile a cell: probe of its runtime, operators, delegates, and what explains them."""

from __future__ import annotations

from dataclasses import replace

from hemline.bench.causes.accelerator import fallback_of
from hemline.bench.causes.explaining import explain
from hemline.bench.devices.device import Device
from hemline.bench.measuring.plan import PlannedCell
from hemline.bench.profiling import onnx_operators, tflite_operators
from hemline.bench.profiling.context import ProfileContext
from hemline.bench.profiling.operators import Measure
from hemline.bench.profiling.probe import probe
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.contract.conditions import conditions_of
from hemline.contract.profile import Profile
from hemline.contract.record import Record
from hemline.contract.stamp import read_stamped
from hemline.errors import JobError

OPERATORS: dict[str, Measure] = {
    "tflite": tflite_operators.measure_operators,
    "onnx": onnx_operators.measure_operators,
}

_LARGEST_GAP = 0.1  # of the whole: operators are measured again where they do not add up


def profile(device: Device, cell: PlannedCell) -> Record:
    """Return the profile of a cell, in a child of its own.

    Raises JobError where it cannot be profiled, DeviceError when the device was lost.
    """
    artifact = cell.artifact
    fallback = "" if device.capabilities.raw_models else fallback_of(device, cell)
    able = device.capabilities.raw_models or fallback
    if cell.batch != 1 or artifact.format not in OPERATORS or not able:
        what = f"on {device.name}" if cell.batch == 1 else f"with batch {cell.batch}"
        raise JobError(f"{cell.title} cannot be profiled {what}")
    path = cell.subject.bundle / artifact.name
    model = TimedModel(name=artifact.name, content=read_stamped(path).model, settings=cell.settings)
    with ModelTimer(device, cell.runtime, cell.version, threads=cell.threads) as timer:
        found = profile_model(timer, model, fallback)
        if timer.last is None:
            raise JobError(f"{cell.title} was not timed")
        last = replace(timer.last, runtime_version=cell.version)
    return Record(
        cell=cell.recorded(last, device.name),
        conditions=conditions_of(last),
        payload=found,
    )


def profile_model(timer: ModelTimer, model: TimedModel, fallback: str = "") -> Profile:
    """Return where the time of a model goes and why; raises JobError and DeviceError likewise.

    fallback: what runs it instead of an accelerator, as in CellResult.delegate.
    """
    counts = timer.device.capabilities.instructions
    reached = None if counts else probe(timer, model.settings)
    measure = OPERATORS[timer.device.backend(timer.runtime).format]
    operators = measure(timer, model, False)
    if not counts and operators.gap > _LARGEST_GAP:
        operators = min(operators, measure(timer, model, True), key=lambda each: each.gap)
    whole = operators.whole.ns
    if reached is not None:  # of the same rounds: of a tiny model it is most of the time
        reached = replace(reached, fixed_ns=operators.fixed_ns)
    found = Profile(
        whole_ns=None if counts else whole,
        whole_instructions=whole if counts else None,
        operators=operators.costs,
        partitions=operators.partitions,
        fusion=operators.fusion,
        probe=reached,
        interventions=(),
        findings=(),
    )
    if counts or timer.last is None:
        return found
    context = ProfileContext(
        timer=timer, model=model, operators=operators, host=timer.last.host, fallback=fallback
    )
    return explain(found, context)

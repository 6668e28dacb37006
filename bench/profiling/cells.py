"""Profile every cell of bundles on devices, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from hemline.bench.devices.device import HERE, HERE_BUSY, Device
from hemline.bench.measuring.plan import MeasurementPlan, planned_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.profiling.profiling import profile
from hemline.contract.record import Record
from hemline.errors import DeviceError, HemlineError, JobError, remedy


def profile_cells(
    devices: Iterable[Device],
    subjects: Sequence[Subject],
    plan: MeasurementPlan,
    *,
    report: Callable[[Record], object],
    progress: Callable[[str], None],
) -> None:
    """Profile the cells of a plan; keep each record in its bundle and pass it to `report`.

    A cell that cannot be profiled costs itself only, a device that is lost its other cells too.
    Raises the last such error at the end, HemlineError where there is no cell at all.
    """
    error: HemlineError | None = None
    count = 0
    for device in devices:
        asked = replace(plan, runtimes=plan.runtimes or device.runtimes())
        cells = [cell for subject in subjects for cell in planned_cells(subject, asked)]
        count += len(cells)
        with HERE_BUSY if device.place == HERE else contextlib.nullcontext():
            for cell in cells:
                try:
                    record = profile(device, cell)
                except HemlineError as problem:
                    progress(f"not profiled: {cell.title} on {device.name}: {problem}")
                    error = problem
                    if isinstance(problem, DeviceError):
                        break
                    continue
                cell.subject.append([record])
                report(record)
    if error is not None:
        raise JobError(f"some cells could not be profiled: {error}") from error
    if not count:
        names = ", ".join(str(subject.bundle) for subject in subjects)
        raise HemlineError(
            f"{names} has no artifact that passed verification in these runtimes",
            remedy=remedy("verify there", bundle=subjects[0].bundle),
        )

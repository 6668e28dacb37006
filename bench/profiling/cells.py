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
from hemline.progress import tracked


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
    Raises the last such error at the end, HemlineError if there is no cell.
    """
    failed: list[HemlineError] = []
    count = 0

    def fail(what: str, error: HemlineError) -> None:
        progress(f"not profiled: {what}: {error}")
        failed.append(error)

    for device in devices:
        with HERE_BUSY if device.place == HERE else contextlib.nullcontext():
            try:
                asked = replace(plan, runtimes=plan.runtimes or device.runtimes())
                cells = [each for one in subjects for each in planned_cells(one, asked)]
                for cell in tracked(cells, len(cells), "profiling"):
                    count += 1
                    try:
                        record = profile(device, cell)
                    except DeviceError:
                        raise
                    except HemlineError as error:
                        fail(f"{cell.title} on {device.name}", error)
                    else:
                        cell.subject.append([record])
                        report(record)
            except HemlineError as error:
                fail(device.name, error)
    if failed:
        raise JobError(f"some cells could not be profiled: {failed[-1]}") from failed[-1]
    if not count:
        names = ", ".join(str(subject.bundle) for subject in subjects)
        raise HemlineError(
            f"{names} has no artifact that passed verification in these runtimes",
            remedy=remedy("verify there", bundle=subjects[0].bundle),
        )

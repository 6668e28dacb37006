"""What a runtime reaches on a device at most, by models of one operator: 0.5 s, then cached.

It depends on the runtime as well as on the processor: a runtime without a kernel for the int8
instructions reaches no more with them than with float.
"""

from __future__ import annotations

import contextlib
import statistics
from pathlib import Path

from hemline.bench.profiling.one_operator import Arithmetic, nothing, one_addition, one_product
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.contract.profile import Probe
from hemline.contract.schema import load, save, to_document
from hemline.contract.settings import Settings
from hemline.contract.specs import Format
from hemline.errors import DeviceError, HemlineError, JobError
from hemline.files import fingerprint
from hemline.user_folders import cache_folder_if_any

# the side of two matrices: larger ones reach hardly more, but take longer
_SIDES: dict[Arithmetic, int] = {"float32": 256, "int8": 512}
_ADDED = 1 << 22  # numbers: three vectors of 16 MB fit into few caches
_ROUNDS = 5
_SLICE_NS = 12_000_000  # of each of the four models in a round
_VERSION = 1  # of the models


def probe(timer: ModelTimer, settings: Settings) -> Probe | None:
    """Return what the runtime of a timer reaches there with these settings.

    None where the device counts instructions, and where the models cannot be made or run.
    """
    if timer.device.capabilities.instructions:
        return None
    path = _path(timer, settings)
    if path is not None and path.is_file():
        with contextlib.suppress(HemlineError):  # damaged, or of another version
            return load(Probe, path)
    found = _measured(timer, settings)
    if path is not None and found is not None and not _loaded(timer):
        with contextlib.suppress(HemlineError):  # it is measured again next time
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, found)
    return found


def idle_model(to: Format, settings: Settings) -> TimedModel:
    """Return a model that computes nothing."""
    return TimedModel(name="no operator", content=nothing(to), settings=settings)


def _path(timer: ModelTimer, settings: Settings) -> Path | None:
    """Return where the probe of a host, a runtime and its settings is kept, if anywhere."""
    cache, host = cache_folder_if_any(), timer.device.host()
    if cache is None or host is None:
        return None
    runtime = (timer.runtime, timer.version, timer.threads, to_document(settings))
    basis = [_VERSION, timer.device.name, host.name, *runtime]
    return cache / "probes" / f"{timer.runtime}-{fingerprint(basis)[:16]}.json"


def _loaded(timer: ModelTimer) -> bool:
    """Return whether others used the processor: a probe of such a time is not kept."""
    host = None if timer.last is None else timer.last.host
    return host is not None and (host.load_average or 0.0) > host.cores


def _measured(timer: ModelTimer, settings: Settings) -> Probe | None:
    to = timer.device.backend(timer.runtime).format
    fixed = _fastest(timer, idle_model(to, settings))
    if fixed is None:
        return None

    def rate(amount: int, content: bytes) -> float | None:
        taken = _fastest(timer, TimedModel(name="probe", content=content, settings=settings))
        return None if taken is None else amount / max(taken - fixed, 1)

    def gmacs(arithmetic: Arithmetic) -> float | None:
        side = _SIDES[arithmetic]
        return rate(side**3, one_product(side, side, side, arithmetic, to))

    return Probe(
        fixed_ns=fixed,
        float_gmacs=gmacs("float32"),
        int8_gmacs=gmacs("int8"),
        gigabytes=rate(3 * 4 * _ADDED, one_addition(_ADDED, to)),
    )


def _fastest(timer: ModelTimer, model: TimedModel) -> int | None:
    """Return the time of the fastest round; None for a model that the runtime refuses."""
    try:
        (times,) = timer.time([model], rounds=_ROUNDS, slice_ns=_SLICE_NS)
    except DeviceError:
        raise
    except JobError:
        return None
    return round(min(statistics.median(each) for each in times.rounds_ns))

"""Read what the machine says of itself; nothing here is set, and what is not shown is None."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hemline.contract.job import HostFacts

_CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_BOARD = Path("/proc/device-tree/model")
_CPUINFO = Path("/proc/cpuinfo")
# by flag, the fastest first
_EXTENSIONS = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "avx": "AVX",
}
_GROUP = Path("/sys/fs/cgroup")  # version 2: the limit of a container
_MEMORY = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
FIRMWARE = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")


def host_facts() -> HostFacts:
    """Return the facts of this machine now."""
    from hemline.contract.job import HostFacts  # here, because most only ask for the cores

    return HostFacts(
        machine=platform.machine(),
        processor=_processor(),
        cores=cores(),
        memory_bytes=_bytes_of(_MEMORY, "MemTotal:"),
        system=f"{platform.system()} {platform.release()}",
        governor=text_of(_CPU / "scaling_governor"),
        frequency_khz=number_of(_CPU / "scaling_cur_freq"),
        temperature_millicelsius=_temperature(),
        throttled=_throttled(),
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far.

    From VmHWM where the system has it: ru_maxrss can still hold the parent's peak.
    """
    if (peak := _bytes_of(_STATUS, "VmHWM:")) is not None:
        return peak
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def steady_memory_bytes() -> int | None:
    """Return the resident memory of this process now, or None where the system does not tell."""
    return _bytes_of(_STATUS, "VmRSS:")


def free_bytes() -> int | None:
    """Return the memory that this process can still allocate, or None if it is unknown.

    The cache of files counts as free: the system drops it on demand.
    """
    free = [] if (here := _bytes_of(_MEMORY, "MemAvailable:")) is None else [here]
    limit, used = number_of(_GROUP / "memory.max"), number_of(_GROUP / "memory.current")
    if limit is not None and used is not None:  # "max" where there is no limit
        free.append(max(0, limit - used + (_row(_GROUP / "memory.stat", "inactive_file") or 0)))
    return min(free, default=None)


def processor_features() -> frozenset[str]:
    """Return what /proc/cpuinfo says that the processor can: amx_tile, asimdhp, ….

    Empty where the system does not tell.
    """
    facts = _cpuinfo()
    return frozenset(facts.get("flags", facts.get("Features", "")).split())


def running_threads() -> int | None:
    """Return how many threads this process has, or None where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 — a count needs no Path objects
    except OSError:
        return None


def _processor() -> str:
    # boards name themselves in the device tree, PCs in cpuinfo
    board = text_of(_BOARD)
    if board:
        return board.rstrip("\0")
    facts = _cpuinfo()
    name = next((facts[key] for key in ("model name", "Model", "Hardware") if key in facts), "")
    # VNNI decides how fast 8-bit files are; virtual machines with and without it call themselves
    # alike, "AMD EPYC" for one
    flags = facts.get("flags", "").split()
    widest = next((name for flag, name in _EXTENSIONS.items() if flag in flags), None)
    named = name or platform.processor() or "unknown"
    return f"{named} ({widest})" if widest else named


def _cpuinfo() -> dict[str, str]:
    """Return what is said of the first processor."""
    facts: dict[str, str] = {}
    for line in (text_of(_CPUINFO) or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip(), value.strip())
    return facts


def cores() -> int:
    """Return how many logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _temperature() -> int | None:
    zones = Path("/sys/class/thermal").glob("thermal_zone*/temp")
    values = [value for zone in zones if (value := number_of(zone)) is not None]
    return max(values, default=None)


def _throttled() -> bool | None:
    # a Raspberry Pi's firmware keeps flags of low voltage and heat, now and since it was started
    flags = text_of(FIRMWARE)
    if flags is not None:
        with contextlib.suppress(ValueError):
            return int(flags, 16) != 0
    counts = (number_of(path) for path in _CPU.parent.parent.glob("cpu*/thermal_throttle/*_count"))
    known = [count for count in counts if count is not None]
    return any(known) if known else None


def _bytes_of(path: Path, key: str) -> int | None:
    kilobytes = _row(path, key)
    return None if kilobytes is None else kilobytes * 1024


def _row(path: Path, key: str) -> int | None:
    """Return the number in the line of a file that begins with `key`."""
    rows = (line.split() for line in (text_of(path) or "").splitlines())
    return next((int(row[1]) for row in rows if row and row[0] == key), None)


def number_of(path: Path) -> int | None:
    """Return the whole number in a file, or None where there is none."""
    text = text_of(path)
    return int(text) if text and text.lstrip("-").isdigit() else None


def text_of(path: Path) -> str | None:
    """Return the text of a file without space around it, or None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None

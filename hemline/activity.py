"""What a machine does while a job runs: who uses its processor, and how fast that is.

Readers start at a root folder, so that recorded systems can be read as well as this one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hemline.contract.job import HostActivity
from hemline.host import FIRMWARE, number_of, text_of

ROOT = Path("/")
_THROTTLED_NOW = 0xF  # low bits of the firmware's flags; the high ones say that it once was


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """The machine at one moment: see _ticks, _own_seconds and _throttle_events."""

    ticks: tuple[int, int, int] | None
    own_seconds: float
    frequency_khz: int | None
    throttle_events: int | None


class ActivityWatch:
    """Watch the machine from the moment at which this is made."""

    def __init__(self, root: Path = ROOT, own_seconds: Callable[[], float] | None = None) -> None:
        """`own_seconds` returns the processor time that is not others'; default: this process's."""
        self._root, self._own_seconds = root, own_seconds or _own_seconds
        self._before = _read(root, self._own_seconds())

    def activity(self) -> HostActivity:
        """Return what happened since."""
        before, after = self._before, _read(self._root, self._own_seconds())
        elapsed = busy = stolen = None
        if before.ticks is not None and after.ticks is not None:
            elapsed, used, stolen = (
                new - old for old, new in zip(before.ticks, after.ticks, strict=True)
            )
            own = (after.own_seconds - before.own_seconds) * os.sysconf("SC_CLK_TCK")
            busy = round(used - own)
        frequencies = [f for f in (before.frequency_khz, after.frequency_khz) if f is not None]
        return HostActivity(
            elapsed_ticks=elapsed,
            busy_ticks=busy,
            stolen_ticks=stolen,
            frequency_khz=min(frequencies, default=None),
            throttled=_throttled(self._root, before.throttle_events, after.throttle_events),
        )


def process_age_ns(root: Path = ROOT) -> int | None:
    """Return how long this process has run, to a clock tick; None where the system does not tell.

    The system rounds the start down to a tick (10 ms): half of one is taken off.
    """
    fields = _own_fields(root)
    if not fields or not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    started = int(fields[19]) * tick_ns + tick_ns // 2  # field 22 of proc_pid_stat(5)
    return max(0, time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started)


def _read(root: Path, own_seconds: float) -> _Reading:
    fields = _own_fields(root)
    core = fields[36] if len(fields) > 36 else "0"  # field 39: the one that it last ran on
    cpu = root / "sys/devices/system/cpu"
    return _Reading(
        ticks=_ticks(text_of(root / "proc/stat")),
        own_seconds=own_seconds,
        frequency_khz=number_of(cpu / f"cpu{core}/cpufreq/scaling_cur_freq"),
        throttle_events=_throttle_events(root),
    )


def _own_seconds() -> float:
    try:
        import resource
    except ImportError:  # not on Windows, where nothing here is known either
        return 0.0
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def _own_fields(root: Path) -> list[str]:
    """Return the fields of /proc/self/stat from the third on: a name may hold anything."""
    return (text_of(root / "proc/self/stat") or "").rpartition(")")[2].split()


def _ticks(stat: str | None) -> tuple[int, int, int] | None:
    """Return total, busy and stolen ticks from the first line of /proc/stat (proc_stat(5))."""
    fields = (stat or "").partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen = map(int, fields[1:9])
    busy = user + nice + system + interrupts + soft_interrupts
    return busy + idle + waiting + stolen, busy, stolen


def _throttle_events(root: Path) -> int | None:
    flags = text_of(root / FIRMWARE.relative_to("/"))
    if flags is not None:
        try:
            return int(bool(int(flags, 16) & _THROTTLED_NOW))
        except ValueError:
            return None
    pattern = "sys/devices/system/cpu/cpu*/thermal_throttle/*_count"
    counts = [n for path in root.glob(pattern) if (n := number_of(path)) is not None]
    return sum(counts) if counts else None


def _throttled(root: Path, before: int | None, after: int | None) -> bool | None:
    if before is None or after is None:
        return None
    is_board = (root / FIRMWARE.relative_to("/")).exists()
    return bool(before or after) if is_board else after > before

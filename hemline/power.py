"""Read the energy that a machine takes, where it reports any.

Sources: the kernel's powercap counters (RAPL on x86), or the power chip of a Raspberry Pi 5.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from hemline.activity import ROOT
from hemline.contract.job import PowerReading
from hemline.host import number_of, text_of

_PMIC = ("vcgencmd", "pmic_read_adc")
_RAIL = re.compile(r"(\w+)_([AV]) (?:current|volt)\(\d+\)=([\d.]+)")


def _pmic_text() -> str:
    try:
        shown = subprocess.run(_PMIC, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return shown.stdout


class PowerMeter:
    """The energy taken since this was made; what wraps around is unwrapped between readings.

    RAPL's counters are those of whole packages and readable for root only on most systems. The
    power chip gives the power of a moment: that of a reading is taken for the time before it.
    """

    def __init__(self, root: Path = ROOT, pmic_text: Callable[[], str] = _pmic_text) -> None:
        self._pmic_text = pmic_text
        zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
        packages = [z for z in zones if (text_of(z / "name") or "").startswith("package")]
        self._counters = {z: n for z in packages if (n := number_of(z / "energy_uj")) is not None}
        self._joules, self._clock_ns = 0.0, time.monotonic_ns()

    def read(self) -> PowerReading | None:
        """Return the energy taken so far; None where the machine reports none."""
        watts = None if self._counters else rail_watts(self._pmic_text())
        if not self._counters and watts is None:
            return None
        clock_ns = time.monotonic_ns()
        if watts is not None:
            self._joules += watts * (clock_ns - self._clock_ns) / 1e9
        for zone, before in self._counters.items():
            now = number_of(zone / "energy_uj")
            most = number_of(zone / "max_energy_range_uj") or 2**32
            if now is not None:
                self._joules += ((now - before) % (most + 1)) / 1e6
                self._counters[zone] = now
        self._clock_ns = clock_ns
        source = "RAPL" if self._counters else "power chip of the board"
        return PowerReading(source=source, clock_ns=clock_ns, joules=self._joules)


def rail_watts(text: str) -> float | None:
    """Return the power of all rails that `vcgencmd pmic_read_adc` prints; None without any."""
    rails: dict[str, dict[str, float]] = {}
    for name, unit, value in _RAIL.findall(text):
        rails.setdefault(name, {})[unit] = float(value)
    pairs = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
    return sum(pairs) if pairs else None

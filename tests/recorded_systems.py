"""What three machines show of themselves under /proc and /sys, to read in place of this one."""

from __future__ import annotations

from pathlib import Path

_SELF = "4711 (python3 (a) b) R 1 4711 1 0 -1 0 0 0 0 0 50 10 0 0 20 0 1 0 {started} 0 0"
_SELF_ON_CORE_2 = _SELF.format(started=1000) + " 0 0 0 0 0 0 0 0 0 0 0 0 0 0 2 0 0 0 0 0"
_CPU = "sys/devices/system/cpu"

RASPBERRY_PI_5 = {
    "proc/stat": "cpu  1000 0 500 8000 100 0 50 0 0 0\ncpu0 250 0 125 2000 25 0 12 0 0 0\n",
    "proc/self/stat": _SELF_ON_CORE_2,
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0x50000",
    f"{_CPU}/cpu2/cpufreq/scaling_cur_freq": "2400000",
    f"{_CPU}/cpu0/cpufreq/scaling_cur_freq": "1500000",
}
INTEL_LAPTOP = {
    "proc/stat": "cpu  90000 100 30000 700000 800 0 900 0 0 0\n",
    "proc/self/stat": _SELF_ON_CORE_2,
    f"{_CPU}/cpu2/cpufreq/scaling_cur_freq": "3800000",
    f"{_CPU}/cpu0/thermal_throttle/core_throttle_count": "12",
    f"{_CPU}/cpu0/thermal_throttle/package_throttle_count": "30",
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": "262143000000",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850",
    "sys/class/powercap/intel-rapl:1/name": "psys",
    "sys/class/powercap/intel-rapl:1/energy_uj": "5",
    "sys/class/powercap/intel-rapl:1/max_energy_range_uj": "262143328850",
}
VIRTUAL_MACHINE = {"proc/stat": "cpu  10 0 10 80 0 0 0 0 0 0\n"}
# of `vcgencmd pmic_read_adc`, shortened; the last two rails have no current
PMIC = """\
     3V3_SYS_A current(0)=0.10000000A
     VDD_CORE_A current(7)=2.00000000A
     3V3_SYS_V volt(8)=3.30000000V
     VDD_CORE_V volt(15)=0.85000000V
     EXT5V_V volt(24)=5.15000000V
     BATT_V volt(25)=0.00000000V
"""


def write_system(root: Path, system: dict[str, str]) -> Path:
    """Write what a machine shows under a folder, and return it."""
    for name, text in system.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root

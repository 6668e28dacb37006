"""Which instruction set extensions, of those that decide the speed of 8-bit files, a processor has.

From the flags of /proc/cpuinfo: x86 lists them as "flags", ARM as "Features".
"""

from __future__ import annotations

import re
from pathlib import Path

# machine: extension to the flags that stand for it
_EXTENSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86": {
        "AVX2": ("avx2",),
        "AVX-512": ("avx512f",),
        "VNNI": ("avx512_vnni", "avx_vnni"),
        "AMX": ("amx_int8",),
        "bfloat16": ("avx512_bf16", "amx_bf16"),
    },
    "arm": {
        "NEON": ("asimd", "neon"),
        "dotprod": ("asimddp",),
        "i8mm": ("i8mm",),
        "float16": ("asimdhp",),
        "bfloat16": ("bf16",),
    },
}


def processor_features(machine: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, bool]:
    """Return each extension and whether the processor has it; empty where it is not known."""
    family = "x86" if re.search("86|amd64", machine.lower()) else "arm"
    try:
        listed = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return {}
    if listed is None:
        return {}
    flags = set(listed[1].split())
    return {name: not flags.isdisjoint(names) for name, names in _EXTENSIONS[family].items()}

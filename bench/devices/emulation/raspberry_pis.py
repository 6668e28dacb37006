"""The Raspberry Pis that can be emulated, and what a program finds in /proc and /sys there.

Native code asks the kernel which processor it is on, and picks its kernels accordingly; qemu's user
mode would show the files of this machine instead, and with them LiteRT and ONNX Runtime crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hemline.errors import UnknownNameError, UsageError

_CORES = 4
_SYS = "sys/devices/system/cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class RaspberryPi:
    """A row of the RASPBERRY_PIS table.

    name: after `emulated:`.
    title: of the board.
    processor: qemu's name of the CPU model.
    architecture: Debian's name of it.
    machine: the kernel's name of it.
    generation: of the ARM architecture, as cpuinfo shows it.
    variant, part, revision: of the processor in its MIDR register, as cpuinfo shows them; ARM's
        Technical Reference Manual of each core gives the part.
    features: as cpuinfo shows them; what qemu's CPU model has.
    runtimes: that are built for it; None for all.
    finds_root: whether all system calls of its programs look below qemu's root folder first; the
        statx of 32-bit ones does not (qemu 7.2).
    """

    name: str
    title: str
    processor: str
    architecture: str = "arm64"
    machine: str = "aarch64"
    generation: int = 8
    variant: str = "0x0"
    part: str
    revision: int
    features: str
    runtimes: tuple[str, ...] | None = None
    finds_root: bool = True

    def write_system_files(self, root: Path) -> None:
        """Write proc/cpuinfo and the lists of processors below `root`."""
        (root / "proc").mkdir(parents=True)
        (root / "proc" / "cpuinfo").write_text(self.cpuinfo)
        (root / _SYS).mkdir(parents=True)
        for name in ("possible", "present", "online"):
            (root / _SYS / name).write_text(f"0-{_CORES - 1}\n")

    @property
    def cpuinfo(self) -> str:
        """Return the text of /proc/cpuinfo."""
        core = (
            f"Features\t: {self.features}\n"
            "CPU implementer\t: 0x41\n"  # ARM
            f"CPU architecture: {self.generation}\n"
            f"CPU variant\t: {self.variant}\n"
            f"CPU part\t: {self.part}\n"
            f"CPU revision\t: {self.revision}\n\n"
        )
        cores = "".join(f"processor\t: {number}\n{core}" for number in range(_CORES))
        return f"{cores}Model\t\t: {self.title} (emulated)\n"


_ARMV8 = "fp asimd evtstrm crc32 cpuid"

RASPBERRY_PIS: dict[str, RaspberryPi] = {
    pi.name: pi
    for pi in (
        RaspberryPi(
            name="pi3",
            title="Raspberry Pi 3 Model B",
            processor="cortex-a53",
            part="0xd03",
            revision=4,
            features=_ARMV8,
        ),
        RaspberryPi(
            name="pi4",
            title="Raspberry Pi 4 Model B",
            processor="cortex-a72",
            part="0xd08",
            revision=3,
            features=_ARMV8,
        ),
        RaspberryPi(
            name="pi5",
            title="Raspberry Pi 5 Model B",
            processor="cortex-a76",
            variant="0x4",
            part="0xd0b",
            revision=1,
            # asimddp are the 8-bit dot products that the older ones lack
            features="fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid "
            "asimdrdm lrcpc dcpop asimddp",
        ),
        RaspberryPi(
            name="pi-32bit",
            title="Raspberry Pi 2 Model B",
            processor="cortex-a7",
            architecture="armhf",
            machine="armv7l",
            generation=7,
            part="0xc07",
            revision=5,
            features="half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae "
            "evtstrm",
            runtimes=("tflite-runtime",),
            finds_root=False,
        ),
    )
}


def raspberry_pi(name: str) -> RaspberryPi:
    """Return the board of a name; raises UsageError without one, UnknownNameError with all."""
    known = {f"emulated:{pi.name}": pi.title for pi in RASPBERRY_PIS.values()}
    if not name:
        raise UsageError(f"name the board to emulate: {', '.join(known)}")
    if name not in RASPBERRY_PIS:  # of a Pi 2, the name that looks like it most is another board
        titled = [f"{address} ({title})" for address, title in known.items()]
        raise UnknownNameError("emulated Raspberry Pi", name, titled)
    return RASPBERRY_PIS[name]

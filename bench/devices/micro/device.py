"""The class of microcontrollers: tflite-micro on this machine.

It shows whether a file loads there, how large its tensor arena is, and whether it computes the bits
of the reference kernels. Its wall times say nothing of a microcontroller.
"""

from __future__ import annotations

import functools
from pathlib import Path

from hemline.bench.devices.device import Device
from hemline.bench.devices.micro.micro_jobs import MICRO, MICRO_BACKENDS, REFERENCE
from hemline.bench.devices.table import DEVICES
from hemline.errors import BackendError, UsageError
from hemline.programs import ProgramError, output_of
from hemline.runtime.backends import Backend
from hemline.runtime.process import JobProcess
from hemline.safe_path import code_command, module_command

_JOBS = "hemline.bench.devices.micro.micro_jobs"
_VERSION = """
import sys
sys.path += sys.argv[1:]
import tflite_micro
print(tflite_micro.__version__)
"""
_SECONDS = 60.0


class TflmDevice(Device):
    """tflite-micro in this Python, or with an address in the folder that it was installed into."""

    name = "tflm"
    capabilities = DEVICES["tflm"].capabilities

    def __init__(self, address: str) -> None:
        """Take tflite-micro from the folder `address`; raises UsageError when it is none."""
        if address and not Path(address).is_dir():
            raise UsageError(
                f"tflm:{address} is not a folder: create it with pip install --target {address} "
                "tflite-micro, or write tflm"
            )
        self._folder = (str(Path(address).resolve()),) if address else ()

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return tflite-micro alone; raises BackendError when it is not installed."""
        return ((MICRO.name, _version(self._folder)),)

    def open(self, runtime: str, version: str) -> JobProcess:
        """Start a child process that has tflite-micro."""
        del runtime, version
        return JobProcess((*module_command(_JOBS), *self._folder))

    def backend(self, runtime: str) -> Backend:
        """Return the row of one of its runtimes."""
        return MICRO_BACKENDS[runtime]

    def reference(self, runtime: str) -> tuple[JobProcess, str]:
        """Start a child process with LiteRT's reference kernels, and return their name too."""
        del runtime
        return JobProcess(module_command(_JOBS)), REFERENCE.name


@functools.cache
def _version(folder: tuple[str, ...]) -> str:
    """Return the version, asked in a child: importing it loads native code."""
    try:
        return output_of([*code_command(_VERSION), *folder], seconds=_SECONDS).strip()
    except ProgramError as error:
        raise BackendError(
            f"tflite-micro cannot be used ({error}): pip install {MICRO.packages}; "
            "it has wheels for Linux on x86-64 only"
        ) from error

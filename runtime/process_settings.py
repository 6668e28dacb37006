"""Set up this process before it loads a runtime: features it gives up, cores it is pinned to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hemline.errors import BackendError
from hemline.host import processor_features

if TYPE_CHECKING:
    from hemline.contract.settings import Settings

# of Linux on x86-64: arch/x86/include/uapi/asm/prctl.h
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
_SMALL_STACK_BYTES = 4096  # the frame of a signal that saves the tiles has more than 8192
_kept: list[Any] = []  # the kernel writes there when a signal comes


def set_up_process(settings: Settings) -> None:
    """Apply what a process has once; raises BackendError where this machine cannot."""
    for feature in settings.refused:
        if feature != "amx":
            raise BackendError(f"no process can disable {feature!r}: only amx")
        _refuse_amx()
    if settings.cores:
        _pin(settings.cores)


def _refuse_amx() -> None:
    """Keep the kernel from giving this process the tiles of AMX, for all libraries alike.

    Libraries ask for them when they start. The kernel refuses while a thread has a signal stack
    that is too small for them (Documentation/arch/x86/xstate.rst).
    """
    if "amx_tile" not in processor_features():
        raise BackendError("this processor has no AMX to disable")
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    stack = ctypes.create_string_buffer(_SMALL_STACK_BYTES)
    # stack_t: pointer, flags, size
    described = (ctypes.c_size_t * 3)(ctypes.addressof(stack), 0, _SMALL_STACK_BYTES)
    _kept.append(stack)
    code = libc.sigaltstack(ctypes.byref(described), None)
    if code != 0 or libc.syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA, 0) == 0:
        raise BackendError(
            "this process uses AMX already, or the system does not let it disable AMX"
        )


def _pin(cores: tuple[int, ...]) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise BackendError("this system cannot pin a process to cores")
    allowed = sorted(os.sched_getaffinity(0))
    if missing := sorted(set(cores).difference(allowed)):
        raise BackendError(f"cannot use cores {missing}: this process may use {allowed}")
    os.sched_setaffinity(0, cores)

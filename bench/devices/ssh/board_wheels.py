"""Which wheels a board needs for a runtime, or why it cannot run there."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

from hemline import files
from hemline.bench.devices.ssh.survey import Survey
from hemline.environments.wheels import MACHINES, Wheel, WheelRequest, wheel_set, wheel_set_folder
from hemline.errors import BackendError, HemlineError, UsageError
from hemline.runtime.backends import find_backend

_GLIBC = re.compile(r"glibc 2\.([0-9]{1,3})")
_ABSENT = "absent.json"
_ABSENT_SECONDS = 7 * 86400.0  # then it is asked again: there may be a wheel by now


def board_wheels(runtime: str, version: str, board: Survey) -> tuple[tuple[Path, Wheel], ...]:
    """Return the wheels that a board needs beside its Python, and where they are here.

    They are fetched when they are not here yet. Raises BackendError with the reason when the
    runtime cannot run there, FetchError without a network.
    """
    if board.platform is None:
        raise BackendError(
            f"there are no wheels for {board.machine} with {board.pointer_bits} bits, only for "
            f"{', '.join(MACHINES)}"
        )
    libc = _GLIBC.fullmatch(board.libc)
    if libc is None:
        raise BackendError("all wheels are for glibc, and this board has another C library")
    if not MACHINES[board.platform]:
        _require_numpy_there(runtime, board)
    try:
        request = WheelRequest(
            runtime=runtime,
            version=version,
            python=board.python_minor,
            machine=board.platform,
            glibc=int(libc[1]),
        )
    except UsageError as error:
        raise BackendError(str(error)) from error
    _require_not_absent(request)
    try:
        folder, wheels = wheel_set(request)
    except UsageError as error:
        _remember_absent(request, str(error))
        raise BackendError(str(error)) from error
    return tuple(zip(wheels.paths(folder), wheels.wheels, strict=True))


def _require_numpy_there(runtime: str, board: Survey) -> None:
    if board.numpy is None:
        raise BackendError(
            f"numpy has no wheel for {board.platform}: apt-get install python3-numpy there"
        )
    below = find_backend(runtime).numpy_below
    major = board.numpy.partition(".")[0]
    if below is not None and major.isdigit() and int(major) >= below:
        raise BackendError(
            f"{runtime} cannot work with numpy {board.numpy}, which the board has, and there is no "
            f"wheel of an older one for {board.platform}"
        )


def _require_not_absent(request: WheelRequest) -> None:
    """Raise BackendError when the index had no such wheel a short while ago.

    Asking it takes seconds, and a warm start has none to spare.
    """
    memo = _memo(request)
    if memo.exists() and time.time() - memo.stat().st_mtime < _ABSENT_SECONDS:
        raise BackendError(str(files.read_json(memo)))


def _remember_absent(request: WheelRequest, reason: str) -> None:
    with contextlib.suppress(HemlineError):  # without it, it is asked again
        files.write_json(_memo(request), reason)


def _memo(request: WheelRequest) -> Path:
    folder = wheel_set_folder(request)
    return folder.with_name(f"{folder.name}.{_ABSENT}")

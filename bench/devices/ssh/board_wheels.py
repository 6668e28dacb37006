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
_ABSENT_SECONDS = 7 * 86400.0  # then it is asked again: there may be a wheel by now


def board_wheels(runtime: str, version: str, board: Survey) -> tuple[tuple[Path, Wheel], ...]:
    """Return the wheels that a board needs beside its Python, and where they are here.

    They are fetched when they are not here yet. Raises BackendError with the reason when the
    runtime cannot run there, FetchError without a network.
    """
    request = _request(runtime, version, board)
    folder = wheel_set_folder(request)
    absent = folder.with_name(f"{folder.name}.absent.json")
    # asking the index takes seconds, and a warm start has none to spare
    if absent.exists() and time.time() - absent.stat().st_mtime < _ABSENT_SECONDS:
        raise BackendError(str(files.read_json(absent)))
    try:
        folder, wheels = wheel_set(request)
    except UsageError as error:
        with contextlib.suppress(HemlineError):  # without it, the index is asked again
            files.write_json(absent, str(error))
        raise BackendError(str(error)) from error
    return tuple(zip(wheels.paths(folder), wheels.wheels, strict=True))


def _request(runtime: str, version: str, board: Survey) -> WheelRequest:
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
        return WheelRequest(
            runtime=runtime,
            version=version,
            python=board.python_minor,
            machine=board.platform,
            glibc=int(libc[1]),
        )
    except UsageError as error:
        raise BackendError(str(error)) from error


def _require_numpy_there(runtime: str, board: Survey) -> None:
    if board.numpy is None:
        raise BackendError(
            f"numpy has no wheel for {board.platform}: apt-get install python3-numpy there"
        )
    below = find_backend(runtime).numpy_below
    major = board.numpy.partition(".")[0]
    if below is not None and major.isdigit() and int(major) >= below:
        raise BackendError(
            f"{runtime} does not work with numpy {board.numpy}, which the board has, and there is "
            f"no older numpy wheel for {board.platform}"
        )

"""Run this Python's pip, with the index, the proxy and the certificates that it is configured for.

pip, not uv: uv cannot download wheel files, has no 32-bit ARM platform, and ignores pip's
configuration.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence

from hemline.errors import FetchError, HemlineError
from hemline.programs import ProgramError, output_of
from hemline.safe_path import module_command

STALL_SECONDS = 15  # longest wait for a connection and for the next bytes
PIP_SECONDS = 600.0  # for one package: 25 MB at 45 kB/s
_OPTIONS = ("--disable-pip-version-check", "--no-input", "--no-color")
_NETWORK = re.compile(
    r"connection|timed? ?out|name resolution|resolve|unreachable|proxy|certificate|max retries",
    re.IGNORECASE,
)


class NoWheelError(Exception):
    """pip found no file that fits."""


def run_pip(arguments: Sequence[str]) -> str:
    """Run this Python's pip and return its output.

    Raises NoWheelError when no file fits, FetchError when the index cannot be reached, HemlineError
    when pip is missing, takes too long or fails otherwise.
    """
    if importlib.util.find_spec("pip") is None:
        raise HemlineError(
            f"{sys.executable} has no pip: run `{sys.executable} -m ensurepip`, or install "
            "python3-pip"
        )
    network = (f"--timeout={STALL_SECONDS}", "--retries=1")
    command = [*module_command("pip"), *_OPTIONS, *network, *arguments]
    try:
        return output_of(command, seconds=PIP_SECONDS)
    except ProgramError as error:
        raise _reason(error) from error


def _reason(error: ProgramError) -> Exception:
    retries = [line for line in error.stderr if line.startswith("WARNING: Retrying")]
    if retries:
        cause = re.search(r"broken by '\w+\((?:.*>: )?['\"]?(.*?)['\"]?\)'", retries[-1])
        return FetchError(
            f"the package index cannot be reached ({cause[1] if cause else 'no answer'}; waited up "
            f"to {STALL_SECONDS} s): try again with a network, or configure another index for pip"
        )
    errors = [e.removeprefix("ERROR:").strip() for e in error.stderr if e.startswith("ERROR:")]
    if any("No matching distribution" in line for line in errors):
        return NoWheelError(errors[0])
    first = next(iter(errors), str(error))
    if error.timed_out or _NETWORK.search(first):
        return FetchError(f"the package index cannot be reached ({first})")
    return HemlineError(f"pip failed: {first}")

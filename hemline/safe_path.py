"""Start a Python that imports nothing from the current folder: a numpy.py there is not numpy.

PYTHONSAFEPATH does the same, from Python 3.11 on. Unlike -I, this leaves PYTHONPATH and the user's
own packages alone.
"""

from __future__ import annotations

import sys

_WITHOUT_FOLDER = "import sys; sys.path = [path for path in sys.path if path]\n"


def code_command(code: str) -> tuple[str, ...]:
    """Return the command that runs `code` with this Python; its arguments may follow."""
    return (sys.executable, "-c", _WITHOUT_FOLDER + code)


def module_command(module: str) -> tuple[str, ...]:
    """Return the command that runs a module as -m does; its arguments may follow."""
    return code_command(
        f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )

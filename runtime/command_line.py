"""What the runtime does for a user: classify, info, selftest and jobs.

The one-file runtime and `hemline classify` and `selftest` all end here, so that a board and a
workstation behave alike. Only the standard library reads the arguments.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from hemline.errors import HemlineError, UnknownNameError, UsageError
from hemline.files import reason_of
from hemline.remedies import described
from hemline.version import VERSION

# name: (module with `add_arguments` and `run`, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "classify": (
        "hemline.runtime.classification",
        "classify image files, folders, a camera or a stream",
    ),
    "info": ("hemline.runtime.information", "show this machine, its runtimes, or an artifact"),
    "selftest": ("hemline.runtime.selftest", "run the test images inside an artifact"),
    "jobs": ("hemline.runtime.job", ""),  # hidden: what a workstation starts
}
ENDED_BY_READER = 1


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes end as every mistake does: in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str], *, program: str = "hemline-runtime.pyz") -> int:
    """Run a command with its arguments; print one line for what went wrong, return the exit code.

    0 done, 1 failed, 2 wrong usage, 3 a check that guards shipping said no.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell programmers is nothing for users
    if sys.stderr is None:
        _open_stderr()
    if sys.stdout is None:  # closed before we began: nobody would get the answers
        return ENDED_BY_READER
    try:
        code = _run(list(arguments), program)
        sys.stdout.flush()
        return code
    except HemlineError as error:
        print(f"error: {described(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # the reader of our output has gone: keep Python from complaining when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ENDED_BY_READER
    except OSError as error:  # a folder without permission, a full disk
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{reason_of(error)}", file=sys.stderr)
        return 1


def _open_stderr() -> None:
    """Give what is said on a closed stderr, by native code too, a place where it cannot harm."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != 2:
        os.dup2(null, 2)
        os.close(null)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _run(arguments: list[str], program: str) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(program))
        return 0
    if arguments[0] == "--version":
        print(f"{program} {VERSION}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise UnknownNameError("command", name, (each for each, row in COMMANDS.items() if row[1]))
    module: Any = importlib.import_module(COMMANDS[name][0])
    options = parser_of(name, program).parse_intermixed_args(rest)
    if options.quiet or options.verbose:
        import logging  # here, because few processes need it

        level = logging.ERROR if options.quiet else logging.INFO
        logging.basicConfig(level=level, format="%(levelname)s: %(message)s")
    code: int = module.run(options)
    return code


def parser_of(name: str, program: str) -> Parser:
    """Return the parser of one command."""
    module: Any = importlib.import_module(COMMANDS[name][0])
    parser = Parser(prog=f"{program} {name}", description=module.__doc__, allow_abbrev=False)
    module.add_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show results and errors only")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what is tried, too")
    return parser


def _overview(program: str) -> str:
    rows = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items() if text)
    return (
        f"usage: {program} COMMAND …\n\n"
        "Classify images on a device. Needs Python 3.10, numpy 1.24 and a runtime: "
        "pip install\nai-edge-litert, tflite-runtime or onnxruntime; for PNG and JPEG pillow too."
        "\n\n"
        f"{rows}\n\n`{program} COMMAND --help` says more."
    )

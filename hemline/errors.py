"""Every error that Hemline raises on purpose, and the exit code each one ends a command with.

HemlineError                 1  the work could not be done
├── UsageError               2  the request itself is wrong
│   └── UnknownNameError     2  a name that is in no table (tells the nearest one)
├── DataError                1  images or labels are missing, altered or not what they should be
│   └── FetchError           1  no source could give the data
├── FileFormatError          1  a file is damaged, or is not what its name says
│   ├── UnstampedError       1  a model without a stamp: cut short, or made elsewhere
│   ├── SchemaError          1  JSON that does not fit its dataclass
│   └── NewerSchemaError     1  written by a newer Hemline
├── DivergenceError          1  training broke down: the loss is no number any more
├── BackendError             1  a runtime is missing or broken
├── UnsupportedRuntimeError  1  a runtime that the artifact does not support
├── JobError                 1  a job failed in its child process
│   └── DeviceError          1  a device cannot be reached, or was lost while it worked
├── StorageError             1  a file cannot be written: no room, or not allowed
├── NotNeededError           1  a file that would bring nothing
├── BusyError                1  another process holds the folder
├── GateError                3  a check that guards shipping said no
├── EvidenceError            4  what was measured neither passes nor fails a check
└── InterruptedWorkError   130  the user interrupted; the message says what is kept

A message says what is wrong, in which file or value. What to do about it is a `Remedy`: a name and
facts, which the command line turns into its own flags and commands (remedies.py), and a service or
a notebook into what fits there. A message that needs no flag or command says it all by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

_LONGEST_NAME = 80  # of what a user gave, in a message
_MOST_NAMES = 30  # in a message


class Remedy(NamedTuple):
    """What may help: a name in the command line's REMEDIES table, and facts for its text."""

    name: str
    facts: dict[str, object]


def first_line(error: Exception | str) -> str:
    """Return the first line of what another library says, or the type of its error."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:500]


def remedy(name: str, /, **facts: object) -> Remedy:
    """Return a remedy with its facts (a path, a name, a number) by name."""
    return Remedy(name, facts)


class HemlineError(Exception):
    """The work could not be done; the message is one line for the user.

    remedy: what the user can do now, where that takes a command or an option.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: Remedy | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process have the error with all its facts."""
        return _again, (type(self), str(self), vars(self))


def _again(kind: type[HemlineError], message: str, facts: dict[str, Any]) -> HemlineError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    vars(error).update(facts)
    return error


class UsageError(HemlineError):
    """The request itself is wrong."""

    exit_code: ClassVar[int] = 2


class UnknownNameError(UsageError):
    """A name that stands in no table; the message offers the nearest one."""

    def __init__(
        self, kind: str, name: str, known: Iterable[str], *, remedy: Remedy | None = None
    ) -> None:
        import difflib  # here, because few processes ever need it

        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        near += (each for each in names if each.endswith(f":{name}"))
        listed = names[:_MOST_NAMES]
        listed += [f"and {len(names) - len(listed)} more"] * (len(listed) < len(names))
        hint = (
            f"did you mean {' or '.join(map(repr, near))}?"
            if near
            else f"choose one of: {', '.join(listed)}"
        )
        shown = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        super().__init__(f"unknown {kind} {shown!r}: {hint}", remedy=remedy)


class DataError(HemlineError):
    """Images or labels are missing, altered or not what they should be."""


class FetchError(DataError):
    """No source could give the data; the message lists each source and its reason."""


class FileFormatError(HemlineError):
    """A file is damaged, or is not what its name says."""


class UnstampedError(FileFormatError):
    """A model file without a stamp: it was cut short, or made elsewhere."""


class SchemaError(FileFormatError):
    """JSON that does not fit the dataclass it should describe."""


class NewerSchemaError(FileFormatError):
    """A file written by a newer Hemline than this one."""


class DivergenceError(HemlineError):
    """Training broke down in `epoch`: the loss is no number any more."""

    def __init__(self, message: str, *, epoch: int, remedy: Remedy | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.epoch = epoch


class BackendError(HemlineError):
    """A runtime is missing or broken; the message names the extra that installs it."""


class UnsupportedRuntimeError(HemlineError):
    """The artifact does not support this runtime, so it is not opened."""


class JobError(HemlineError):
    """A job failed in its child process, or the child itself died."""


class DeviceError(JobError):
    """A device cannot be reached, or was lost while it worked: it says nothing of the artifact."""


class BusyError(HemlineError):
    """Another process is working in the same folder."""


class StorageError(HemlineError):
    """A file cannot be written: there is no room, or it is not allowed."""


class NotNeededError(HemlineError):
    """A file that would bring nothing; the message says why."""


class GateError(HemlineError):
    """A check that guards shipping said no."""

    exit_code: ClassVar[int] = 3


class EvidenceError(HemlineError):
    """What was measured is not enough to say that a check passed or failed."""

    exit_code: ClassVar[int] = 4


class InterruptedWorkError(HemlineError):
    """The user interrupted the work; the message says what is kept and how to go on."""

    exit_code: ClassVar[int] = 130

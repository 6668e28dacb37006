"""Progress of long work: lines, how much is done, how long the rest takes. Nothing prints here.

The command line and other callers decide where it goes; without them it goes to the log.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import NamedTuple, Protocol, TypeVar

from hemline.closing import Closing

log = logging.getLogger(__name__)

T = TypeVar("T")
Say = Callable[[str], None]
_FIRST_SECONDS = 10.0  # without a terminal: until the first line on work that goes on
_LONGEST_SECONDS = 60.0  # between two such lines; until then each wait is twice the last one


class Bar(Protocol):
    """What shows work on a terminal."""

    def show(self, text: str, done: float | None) -> None:
        """Show a text and how much is done."""

    def say(self, line: str) -> None:
        """Print a line above the bars."""

    def close(self) -> None:
        """Remove the bar."""


class Report(NamedTuple):
    """Where progress goes.

    say: prints a line; called from any thread.
    bar: returns a bar for a label, a total and what is done; None where there is no terminal.
    """

    say: Say = log.info
    bar: Callable[[str, float | None, float], Bar | None] = lambda _label, _total, _done: None


REPORT: ContextVar[Report] = ContextVar("REPORT", default=Report())  # noqa: B039 — a tuple


def say(line: str) -> None:
    """Report a line."""
    REPORT.get().say(line)


@contextlib.contextmanager
def report_to(say: Say) -> Iterator[None]:
    """Send the progress of what runs inside to `say`, such as print."""
    token = REPORT.set(Report(say=say))
    try:
        yield
    finally:
        REPORT.reset(token)


class Progress(Closing):
    """Work under way: a bar with the time left on a terminal, a line now and then elsewhere."""

    def __init__(self, label: str, total: float | None = None) -> None:
        """`total` is the amount of work; None where it is not known."""
        self._label, self._total, self._report = label, total, REPORT.get()
        self._bar: Bar | None = None
        self._started = self._last = time.monotonic()
        self._wait = _FIRST_SECONDS
        self._begun: float | None = None

    @property
    def on_terminal(self) -> bool:
        """Return whether a bar is shown."""
        return self._bar is not None

    def show(
        self,
        text: str = "",
        *,
        done: float | None = None,
        line: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """Show `text` and how much is done on a terminal; elsewhere say `line`, if any.

        seconds: of the last piece, where other work came before the first one.
        Without a terminal and a line, one is made of them when there was none for some time.
        """
        if self._begun is None:
            # what an earlier run has done tells nothing about the speed of this one
            self._begun = max(0, (done or 0) - 1)
            if seconds is not None:
                self._started = time.monotonic() - seconds
            self._bar = self._report.bar(self._label, self._total, self._begun)
        if self._bar is not None:
            self._bar.show(text, done)
        elif line is not None:
            self._report.say(f"{line}{self._left(done)}")
        elif time.monotonic() - self._last >= self._wait and (left := self._left(done)):
            self._last, self._wait = time.monotonic(), min(2 * self._wait, _LONGEST_SECONDS)
            self._report.say(f"{self._label}: {text or self._share(done)}{left}")

    def say(self, text: str) -> None:
        """Print a line that stays, above the bar."""
        (self._bar or self._report).say(text)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _share(self, done: float | None) -> str:
        return f"{100 * (done or 0) / (self._total or 1):.0f} %"

    def _left(self, done: float | None) -> str:
        """Return how long the rest takes at the speed so far, where that is worth a word."""
        since = (done or 0) - (self._begun or 0)
        if self._total is None or since <= 0:
            return ""
        seconds = (time.monotonic() - self._started) * (self._total - (done or 0)) / since
        return "" if seconds < _FIRST_SECONDS else f", about {duration(seconds)} left"


def tracked(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield `total` items of work, with progress after each."""
    with Progress(label, total) as progress:
        progress.show(done=0)
        for done, item in enumerate(items, 1):
            yield item
            progress.show(f"{done} of {total}", done=done)


def duration(seconds: float) -> str:
    """Return a time in words: 40 s, 3 min or 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

"""Show progress on stderr: bars on a terminal, lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any, ClassVar

import click

from hemline.progress import REPORT, Report


def show_progress(context: click.Context) -> None:
    """Show the progress of a command on stderr, unless the user asks for quiet."""

    def silent() -> bool:  # in any thread; the option may come after the command
        return bool((context.find_root().obj or {}).get("quiet"))

    def echo(line: str) -> None:
        if ShownBar.shown is not None:
            ShownBar.say(line)
        elif not silent():
            click.echo(line, err=True)

    def bar(label: str, total: float | None, done: float) -> ShownBar | None:
        return ShownBar(label, total, done) if sys.stderr.isatty() and not silent() else None

    before = REPORT.set(Report(say=echo, bar=bar))
    context.call_on_close(lambda: REPORT.reset(before))
    context.call_on_close(ShownBar.end)  # of work that an error ended


class ShownBar:
    """A bar of rich's on stderr, drawn when it is updated; several are drawn below each other."""

    shown: ClassVar[Any] = None  # the bars that are shown now
    _lock: ClassVar = Lock()

    def __init__(self, label: str, total: float | None, done: float) -> None:
        with ShownBar._lock:
            if ShownBar.shown is None:
                ShownBar.shown = _bars()
                ShownBar.shown.start()
        self._task = ShownBar.shown.add_task(label, total=total, completed=done, text="")

    def show(self, text: str, done: float | None) -> None:
        """Show a text and how much is done."""
        ShownBar.shown.update(self._task, completed=done, text=text, refresh=True)

    @staticmethod
    def say(line: str) -> None:
        """Print a line above the bars."""
        ShownBar.shown.console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar, and give the terminal back after the last one."""
        if ShownBar.shown is not None and len(ShownBar.shown.tasks) > 1:
            ShownBar.shown.remove_task(self._task)
        else:
            ShownBar.end()

    @staticmethod
    def end() -> None:
        """Remove all bars."""
        if ShownBar.shown is not None:
            ShownBar.shown.stop()
            ShownBar.shown = None


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, highlight=False, markup=False)
    return Progress(
        *columns,
        console=console,
        auto_refresh=False,
        transient=True,
        # results go above the bar, but never into it where they go to a file
        redirect_stdout=sys.stdout.isatty(),
    )

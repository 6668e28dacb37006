"""Read the folders that monitors write."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hemline.contract import schema
from hemline.contract.monitoring import MonitoredArtifact, Window
from hemline.errors import HemlineError, UsageError, remedy
from hemline.runtime.monitoring.monitor import ARTIFACT, WINDOWS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Consecutive windows as one; `end` is the start of the last one."""

    window: Window
    end: str

    @property
    def text(self) -> str:
        """Return the hours, UTC."""
        first, last = (each.replace("T", " ") + ":00" for each in (self.window.start, self.end))
        return (
            first
            if first == last
            else f"{first} – {last[11:] if first[:10] == last[:10] else last}"
        )


def monitored_folders(folder: Path) -> list[Path]:
    """Return the folders of artifacts in `folder`, or itself; raises UsageError without any."""
    found = sorted(path.parent for path in (*folder.glob(ARTIFACT), *folder.glob(f"*/{ARTIFACT}")))
    if not found:
        raise UsageError(f"{folder} is not the folder of a monitor", remedy=remedy("monitor"))
    return found


def read_artifact(folder: Path) -> MonitoredArtifact:
    """Return what the stamp of the monitored artifact says; raises FileFormatError."""
    return schema.load(MonitoredArtifact, folder / ARTIFACT)


def read_periods(folder: Path, artifact: MonitoredArtifact, least: int) -> list[Period]:
    """Return what was counted, in periods of at least `least` images but for the last one.

    A damaged file is left out, with a warning.
    """
    periods, waiting = list[Period](), list[Window]()
    for window in _windows(folder, artifact):
        waiting.append(window)
        if sum(each.images for each in waiting) >= least:
            periods.append(_period(waiting))
            waiting = []
    return [*periods, _period(waiting)] if waiting else periods


def _period(windows: list[Window]) -> Period:
    return Period(window=functools.reduce(Window.plus, windows), end=windows[-1].start)


def _windows(folder: Path, artifact: MonitoredArtifact) -> Iterator[Window]:
    reference = artifact.reference
    away = () if reference.distances is None else reference.distances.counts
    bins = [len(each) for each in (reference.labels, reference.scores.counts, away)]
    for path in sorted((folder / WINDOWS).glob("[0-9]*.json")):
        try:
            window = schema.load(Window, path)
        except HemlineError as error:
            log.warning("left out: %s", error)
            continue
        if [len(each) for each in (window.labels, window.scores, window.distances)] != bins:
            log.warning("left out: %s does not fit the artifact", path)
        elif window.images:
            yield window

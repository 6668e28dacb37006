"""Verdicts as tables: runtimes and versions down, schemes across, one table for each format.

Where a file passed the table has its accuracy on the test images; without labels it says so.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence

from hemline.contract.manifest import Verdict
from hemline.small_sets import accuracy_text
from hemline.tables import Table

NamedVerdict = tuple[str, Verdict]  # an artifact's name, and one of its verdicts
Place = tuple[str, str, str, str]  # runtime, version, Python, numpy


def verdict_tables(verdicts: Sequence[NamedVerdict]) -> list[Table]:
    """Return the tables of verdicts, in the order in which artifacts and runtimes come."""
    formats = dict.fromkeys(_format(name) for name, _ in verdicts)
    return [_table([pair for pair in verdicts if _format(pair[0]) == each]) for each in formats]


def reasons(verdicts: Sequence[NamedVerdict]) -> list[str]:
    """Return a line for each verdict that has a reason: it did not pass."""
    return [
        f"{name} in {title_of(verdict)}: {verdict.status}, {verdict.reason}"
        for name, verdict in verdicts
        if verdict.reason
    ]


def title_of(verdict: Verdict) -> str:
    """Return runtime and version, and the Python where it is not the one that runs this."""
    here = ".".join(platform.python_version_tuple()[:2])
    other = verdict.python_version not in ("", here)
    where = f"{verdict.runtime} {verdict.version}"
    return f"{where} (Python {verdict.python_version})" if other else where


def _table(verdicts: Sequence[NamedVerdict]) -> Table:
    names = list(dict.fromkeys(name for name, _ in verdicts))
    ending = _format(names[0])
    schemes = (f">{name.removesuffix(f'.{ending}')}" for name in names)
    scores = (verdict.score("test") for _, verdict in verdicts)
    images = max((score.images for score in scores if score is not None), default=0)
    status = {(name, _place(verdict)): _shown(verdict, images) for name, verdict in verdicts}
    places = list(dict.fromkeys(_place(verdict) for _, verdict in verdicts))
    return Table.of(
        (f"runtime (.{ending})", "python", "numpy", *schemes),
        (
            (f"{runtime} {version}", python, numpy, *(status.get((n, place), "") for n in names))
            for place in places
            for runtime, version, python, numpy in [place]
        ),
    )


def _shown(verdict: Verdict, images: int) -> str:
    """Return status or accuracy, marked where fewer than all images were run."""
    score = verdict.score("test")
    part = "" if score is None or score.images == images else f" of {score.images:,}"
    accuracy = "" if score is None else f"{accuracy_text(score.correct, score.images)}{part}"
    if verdict.status == "passed":
        return accuracy or "passed"
    return f"FAILED {accuracy}".rstrip() if verdict.status == "failed" else verdict.status


def _place(verdict: Verdict) -> Place:
    return (verdict.runtime, verdict.version, verdict.python_version, verdict.numpy_version)


def _format(name: str) -> str:
    return name.rpartition(".")[2]

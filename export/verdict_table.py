"""Verdicts as tables: runtimes and versions down, artifacts across, one table for each format."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from hemline.contract.manifest import Verdict
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
    status = {(name, _place(verdict)): _shown(verdict) for name, verdict in verdicts}
    places = list(dict.fromkeys(_place(verdict) for _, verdict in verdicts))
    return Table.of(
        ("runtime", "python", "numpy", *names),
        (
            (f"{runtime} {version}", python, numpy, *(status.get((n, place), "") for n in names))
            for place in places
            for runtime, version, python, numpy in [place]
        ),
    )


def _shown(verdict: Verdict) -> str:
    return verdict.status.upper() if verdict.status == "failed" else verdict.status


def _place(verdict: Verdict) -> Place:
    return (verdict.runtime, verdict.version, verdict.python_version, verdict.numpy_version)


def _format(name: str) -> str:
    return name.rpartition(".")[2]

"""What was tried to meet a budget, and the table of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hemline.contract.budget import Budget, Candidate
from hemline.export.quantization.options import PostTrainingOptions
from hemline.tables import CHANGE, Table, change, signed

BUDGET_NAME = "budget.json"  # in a bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One remedy that was tried.

    rung: name in the RUNGS table.
    scheme: of its files.
    detail: what was done.
    options: how ranges are found, for its files.
    drop_points: what it loses on validation, in percentage points (agreement without labels); None
        where it cannot be made.
    gain_points: less than the best before it; None for the first.
    seconds: that it took.
    reason: why it is not enough; empty for one that fits.
    """

    rung: str
    scheme: str
    detail: str
    options: PostTrainingOptions
    drop_points: float | None
    gain_points: float | None
    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """All remedies that were tried for a budget.

    inputs_sha256: of the model, the images, the options and the budget.
    budget: that they were tried for.
    attempts: in their order.
    """

    KIND: ClassVar[str] = "budget attempts"
    SCHEMA: ClassVar[int] = 1

    inputs_sha256: str
    budget: Budget
    attempts: tuple[Attempt, ...] = ()


def attempts_table(attempts: Sequence[Attempt], files: Sequence[Candidate]) -> Table:
    """Return a row for each remedy, with the fastest of the files that there are of its scheme.

    Without labels, the change is that of the agreement with the source model. Better ranges change
    neither size nor time.
    """
    return Table.of(
        ("tried", "how", f">{CHANGE}", ">gain", ">seconds", "fastest file", ">kB", ">µs", "result"),
        [
            (
                each.rung,
                each.detail,
                "" if each.drop_points is None else change(each.drop_points),
                "" if each.gain_points is None else signed(each.gain_points),
                f"{each.seconds:.1f}",
                *_figures([f for f in files if f.artifact.rpartition(".")[0] == each.scheme]),
                each.reason or "fits",
            )
            for each in attempts
        ],
    )


def _figures(files: Sequence[Candidate]) -> tuple[str, str, str]:
    if not files:
        return ("", "", "")
    fastest = min(files, key=lambda each: each.cost)
    name = f"{fastest.artifact} in {fastest.runtime}"
    return (name, f"{fastest.size_bytes / 1000:.1f}", f"{fastest.cost:.0f}")

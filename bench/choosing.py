"""Choose the artifact to ship within a budget, and write the choice into the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hemline.bench.comparison import Comparison, Row, candidate_of
from hemline.bench.measuring.subject import Subject
from hemline.bench.records import names_of
from hemline.bench.report.verdict import explain, recommend
from hemline.contract import schema
from hemline.contract.budget import Budget, Candidate
from hemline.contract.manifest import MANIFEST_NAME, Artifact, Manifest
from hemline.contract.record import LOCAL, Cell
from hemline.contract.stamp import read_stamped
from hemline.errors import UsageError, remedy
from hemline.runtime.backends import BACKENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to ship, and why.

    file: path of the artifact.
    candidate: the artifact in its runtime.
    row: all that was measured of it.
    reasons: sentences; the first one names it.
    """

    file: Path
    candidate: Candidate
    row: Row
    reasons: tuple[str, ...]


def choose_each(
    subjects: Sequence[Subject], comparisons: Sequence[Comparison], budget: Budget
) -> tuple[Choice, ...]:
    """Choose for each device; write the choice for the first into its bundle."""
    choices = tuple(choice_of(subjects, each, budget) for each in comparisons)
    write_choice(subjects, choices[0])
    return choices


def write_choice(subjects: Sequence[Subject], choice: Choice) -> None:
    """Write a choice into the bundle that has it."""
    subject = dict(zip(names_of(subjects), subjects, strict=True))[choice.row.model.name]
    updated = replace(
        subject.manifest,
        recommended=choice.candidate.artifact,
        recommended_because=" ".join(choice.reasons[:2]),
    )
    schema.save(subject.bundle / MANIFEST_NAME, updated)


def choice_of(subjects: Sequence[Subject], comparison: Comparison, budget: Budget) -> Choice:
    """Choose among what passed verification.

    `comparison` is that of the subjects. Raises UsageError when no latency was measured, GateError
    when nothing fits the budget.
    """
    named = dict(zip(names_of(subjects), subjects, strict=True))
    rows = []
    for row in comparison.rows:
        subject = named[row.model.name]
        if may_ship(subject.bundle, subject.manifest, row.cell):
            rows.append(row)
    comparison = replace(comparison, rows=tuple(rows))
    if not any(row.is_measured for row in rows):
        bundle, device = subjects[0].bundle, comparison.device
        where = "" if device == LOCAL else f" of a file that passed, on {device}"
        here = remedy("bench", bundle=bundle)
        advice = remedy("bench on device", bundle=bundle, device=device) if where else here
        raise UsageError(f"no {comparison.measure.name} was measured{where}", remedy=advice)
    chosen = recommend(comparison, budget)
    reasons = explain(comparison, budget, chosen)
    candidate = candidate_of(comparison, chosen)
    file = named[chosen.model.name].bundle / candidate.artifact
    return Choice(file=file, candidate=candidate, row=chosen, reasons=reasons)


def may_ship(bundle: Path, manifest: Manifest, cell: Cell) -> bool:
    """Return whether an artifact passed in the runtime of a record, and supports it."""
    ran_in = (cell.runtime, cell.runtime_version)
    return any(
        artifact.sha256 == cell.artifact_sha256
        # one that only a device has measures what passed there
        and (cell.runtime not in BACKENDS or _passed(bundle, artifact, *ran_in))
        for artifact in manifest.artifacts
    )


def _passed(bundle: Path, artifact: Artifact, runtime: str, version: str) -> bool:
    # its records may be older than a verdict that it failed
    passed = artifact.status_in(runtime, version) == "passed"
    return passed and read_stamped(bundle / artifact.name).stamp.supports(runtime, version)

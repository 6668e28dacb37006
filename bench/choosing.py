"""Choose the artifact to ship within a budget, and write the choice into the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hemline.bench.comparison import Comparison, Row, candidate_of
from hemline.bench.measuring.subject import Subject
from hemline.bench.records import names_of
from hemline.bench.report.verdict import explain, recommend, unmeasured
from hemline.contract import schema
from hemline.contract.budget import Budget, Candidate
from hemline.contract.manifest import (
    MANIFEST_NAME,
    Artifact,
    Manifest,
    Recommendation,
    read_manifest,
)
from hemline.contract.record import LOCAL, Cell
from hemline.contract.stamp import read_stamped
from hemline.errors import GateError, Remedy, UsageError, remedy
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
    """Choose for each device; write each choice into the bundle that has the file."""
    choices = tuple(choice_of(subjects, each, budget) for each in comparisons)
    for choice in choices:
        write_choice(choice)
    return choices


def write_choice(choice: Choice) -> None:
    """Write a choice into the bundle that has it; those for other devices stay."""
    recommended = Recommendation(
        device=choice.candidate.device,
        artifact=choice.candidate.artifact,
        because=" ".join(choice.reasons[:2]),
    )
    bundle = choice.file.parent
    schema.save(bundle / MANIFEST_NAME, read_manifest(bundle).recommending(recommended))


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
        message = f"no {comparison.measure.name} was measured{where}"
        raise UsageError(message, remedy=_bench_first(bundle, device))
    try:
        chosen = recommend(comparison, budget)
    except GateError as error:
        missing = "".join(f"{line}; " for line in unmeasured(comparison))
        measured = {row.model.name for row in rows if row.is_measured}
        left = [each.bundle for name, each in named.items() if name not in measured]
        advice = _bench_first(left[0], comparison.device) if left else None
        raise GateError(f"{missing}{error}", remedy=advice) from error
    reasons = explain(comparison, budget, chosen)
    candidate = candidate_of(comparison, chosen)
    file = named[chosen.model.name].bundle / candidate.artifact
    return Choice(file=file, candidate=candidate, row=chosen, reasons=reasons)


def _bench_first(bundle: Path, device: str) -> Remedy:
    if device == LOCAL:
        return remedy("bench", bundle=bundle)
    return remedy("bench on device", bundle=bundle, device=device)


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

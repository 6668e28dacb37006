"""Choose the artifact to ship within a budget, and write the choice into the bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hemline.bench.comparison import Comparison
from hemline.bench.report.verdict import explain, recommend
from hemline.contract import schema
from hemline.contract.budget import Budget, Candidate
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import MANIFEST_NAME, Manifest
from hemline.contract.record import Cell
from hemline.contract.stamp import read_stamped
from hemline.errors import UsageError, remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to ship, and why.

    candidate: the artifact in its runtime.
    reasons: sentences; the first one names it.
    """

    candidate: Candidate
    reasons: tuple[str, ...]


def choose_in(bundle: Path, manifest: Manifest, comparison: Comparison, budget: Budget) -> Choice:
    """Choose among what passed verification, and write the choice into the manifest.

    Raises UsageError when no latency was measured, GateError when nothing fits the budget.
    """
    rows = [row for row in comparison.rows if may_ship(bundle, manifest, row.cell)]
    comparison = replace(comparison, rows=tuple(rows))
    if all(row.latency is None for row in rows):
        raise UsageError("no latency was measured", remedy=remedy("bench", bundle=bundle))
    chosen = recommend(comparison, budget)
    labels = load_split(bundle, "test", manifest.evaluation_sha256).labels
    reasons = explain(comparison, budget, chosen, labels)
    updated = replace(
        manifest, recommended=chosen.artifact, recommended_because=" ".join(reasons[:2])
    )
    schema.save(bundle / MANIFEST_NAME, updated)
    return Choice(candidate=chosen, reasons=reasons)


def may_ship(bundle: Path, manifest: Manifest, cell: Cell) -> bool:
    """Return whether an artifact passed in the runtime of a record, and supports it."""
    ran_in = (cell.runtime, cell.runtime_version)
    return any(
        artifact.sha256 == cell.artifact_sha256
        # its records may be older than a verdict that it failed
        and artifact.status_in(*ran_in) == "passed"
        and read_stamped(bundle / artifact.name).stamp.supports(*ran_in)
        for artifact in manifest.artifacts
    )

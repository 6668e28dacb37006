"""The budget of `hemline export`: its options, the search on a device, and what it prints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hemline.arguments import joined, json_option
from hemline.console import budget_options
from hemline.contract import schema
from hemline.contract.budget import Budget, Candidate, over_budget, over_drop
from hemline.errors import GateError, Remedy, UsageError, remedy
from hemline.tables import as_text, change

if TYPE_CHECKING:
    from hemline.export.api import ExportResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """A budget that was given, where its latency counts, and how it is answered."""

    budget: Budget
    device: str
    as_json: bool


def _within(device: str | None, as_json: bool, **limits: Any) -> Within | None:
    if any(limit is not None for limit in limits.values()):
        return Within(budget=Budget(**limits), device=device or "local", as_json=as_json)
    if device is not None or as_json:
        raise UsageError("--device and --json go with --max-drop, --max-kb or --max-ms")
    return None


# a budget, as `within: Within | None`
within_options = joined(
    "within",
    _within,
    budget_options(None),
    click.option("--device", help="Device that --max-ms is for (default: local)."),
    json_option("JSON lines of the search within a budget."),
)


def report_search(within: Within, exported: ExportResult) -> None:
    """Print what was tried to meet a budget; raise GateError with the nearest file if none fits."""
    from hemline.export.budget.attempts import attempts_table

    found = exported.search
    if found is None:
        raise AssertionError("a search is made for a budget")
    if within.as_json:
        for each in (*found.attempts, *((found.chosen,) if found.chosen else ())):
            click.echo(json.dumps(schema.to_document(each)))
    else:
        click.echo(as_text(attempts_table(found.attempts, found.candidates)))
    if found.chosen is None:
        nearest = min(found.candidates, key=lambda each: _excess(each, within.budget), default=None)
        raise GateError(
            _over(nearest, within.budget), remedy=_remedy(nearest, within.budget, exported.bundle)
        )
    if not within.as_json:
        click.echo(_sentence(found.chosen, within.budget, within.device))


def _sentence(chosen: Candidate, budget: Budget, device: str) -> str:
    drop = chosen.drop_points
    lost = "" if drop is None else f", {change(drop)} points on validation"
    return (
        f"{chosen.artifact} in {chosen.runtime} fits {budget.text}: {chosen.cost:.0f} µs on "
        f"{device}, {chosen.size_bytes / 1000:.1f} kB{lost}"
    )


def _over(nearest: Candidate | None, budget: Budget) -> str:
    """Return which file is nearest to a budget, and what it is over it."""
    if nearest is None:
        return f"nothing fits {budget.text}: no file passed on the device"
    return (
        f"nothing fits {budget.text}; the nearest, {nearest.artifact} in {nearest.runtime}, "
        f"{over_budget(nearest, budget)}"
    )


def _remedy(nearest: Candidate | None, budget: Budget, bundle: Path) -> Remedy:
    """Return what helps against what the nearest file is over: accuracy, else size, else time."""
    if nearest is None or over_drop(nearest.drop_points, budget) is not None:
        return remedy("diagnose", bundle=bundle)
    large = budget.max_kb is not None and nearest.size_bytes > budget.max_kb * 1000
    return remedy("smaller file") if large else remedy("faster model")


def _excess(candidate: Candidate, budget: Budget) -> float:
    """Return how far a file is over a budget: points, and shares of the other limits."""
    pairs = (
        (candidate.size_bytes / 1000, budget.max_kb),
        (candidate.cost / 1000, budget.max_ms),
    )
    drop, most = candidate.drop_points, budget.max_drop_points
    points = 0.0 if drop is None or most is None else max(0.0, drop - most)
    shares = (max(0.0, value / limit - 1) for value, limit in pairs if limit)
    return points + sum(shares)

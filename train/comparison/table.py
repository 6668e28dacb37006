"""A comparison of data sets as a table and lines: the accuracies, the findings, the conditions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hemline.data.datasets import find_dataset
from hemline.tables import Table, macs_text
from hemline.train.comparison.comparison import (
    DatasetComparison,
    DatasetRun,
    Outcome,
    error_ratios,
    outcomes,
)


def comparison_table(comparison: DatasetComparison) -> Table:
    """Return a row for each data set: accuracy, best and worst class, spread, time."""
    rows = [_row(each, comparison.runs_of(each.name)) for each in outcomes(comparison)]
    return Table.of(rows[0], (tuple(row.values()) for row in rows))


def ratio_lines(comparison: DatasetComparison) -> list[str]:
    """Return a line for each error ratio."""
    titles = {name: find_dataset(name).title for name in comparison.names}
    return [
        f"{each.ratio:.1f} × as many errors on {titles[each.name]} as on {titles[each.reference]} "
        f"(95 % interval by the log ratio: {each.low:.1f} … {each.high:.1f})"
        for each in error_ratios(comparison)
    ]


def finding_lines(comparison: DatasetComparison) -> list[str]:
    """Return the error ratio and the most confused pairs, a line for each."""
    lines = ratio_lines(comparison)
    found = outcomes(comparison)
    lines += [f"{x.title}: no mistakes, so there is no error ratio" for x in found if not x.wrong]
    for each in (each for each in found if each.wrong):
        pairs = [f"{p.true} → {p.predicted} ({p.images:.0f})" for p in each.most_confused]
        lines.append(f"{each.title}, most confused: {', '.join(pairs)}")
    return lines


def conditions_lines(comparison: DatasetComparison) -> list[str]:
    """Return what the figures rest on."""
    runs = comparison.runs
    seeds = sorted({run.seed for run in runs})
    flips = ", without flips" if comparison.without_flips else ""
    lines = [
        f"{comparison.model}, {comparison.parameters:,} parameters, {macs_text(comparison.macs)}; "
        f"recipe {comparison.recipe}{flips}; seed{'s' if len(seeds) > 1 else ''} "
        f"{', '.join(map(str, seeds))}; {_all(f'{run.train_images:,}' for run in runs)} training "
        f"images; {_all(run.precision for run in runs)}; {_all(run.host for run in runs)}; "
        f"{comparison.created[:10]}"
    ]
    datasets = [find_dataset(name) for name in comparison.names]
    if comparison.without_flips:
        lines.append(
            "no flips on any data set: an image of "
            f"{_all(each.title for each in datasets if not each.may_flip)} flipped left to "
            "right is a different one"
        )
    unverified = {run.dataset for run in runs if not run.verified}
    return [*lines, *(f"{x.title}: unverified files" for x in datasets if x.name in unverified)]


def _row(outcome: Outcome, runs: Sequence[DatasetRun]) -> dict[str, str]:
    correct, images = (
        sum(getattr(run, f"validation_{name}") for run in runs) for name in ("correct", "images")
    )
    low, high = 100 * min(outcome.seeds), 100 * max(outcome.seeds)
    best, worst = (f"{x.label} ({100 * x.accuracy:.2f} %)" for x in (outcome.best, outcome.worst))
    return {
        "data set": outcome.title,
        ">test": f"{100 * outcome.accuracy:.2f} %",
        ">95 % interval": f"{100 * outcome.low:.2f} … {100 * outcome.high:.2f} %",
        **({">seeds": f"{low:.2f} … {high:.2f} %"} if len(runs) > 1 else {}),
        ">validation": f"{100 * correct / images:.2f} %",
        "best class": best,
        "worst class": worst,
        ">spread": f"{outcome.spread_points:.2f} points",
        ">epochs": _span([run.epochs for run in runs]),
        ">min": _span([math.ceil(run.training_seconds / 60) for run in runs]),
    }


def _all(texts: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(texts))


def _span(values: Sequence[int]) -> str:
    return " … ".join(str(value) for value in dict.fromkeys((min(values), max(values))))

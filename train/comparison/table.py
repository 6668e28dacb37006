"""A comparison of data sets in words: a table, what was found, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hemline.data.datasets import find_dataset
from hemline.tables import Table, macs_text
from hemline.train.comparison.comparison import DatasetComparison
from hemline.train.comparison.outcomes import Outcome, error_ratios, outcomes


def comparison_table(comparison: DatasetComparison) -> Table:
    """Return a row for each data set: accuracy, best and worst class, spread, time."""
    found = outcomes(comparison)
    several = len(found[0].seeds) > 1
    columns = ("data set", "test", "95 % interval", *(("seeds",) if several else ()))
    more = ("validation", "best class", "worst class", "spread", "epochs", "min")
    return Table(
        columns=(*columns, *more),
        numeric=(False, *(True for _ in columns[1:]), True, False, False, True, True, True),
        rows=tuple(_row(comparison, each, several) for each in found),
    )


def finding_lines(comparison: DatasetComparison) -> list[str]:
    """Return the error ratio and the most confused pairs, a line for each."""
    found = {each.name: each for each in outcomes(comparison)}
    ratios = [
        f"{each.ratio:.1f} × as many errors on {found[each.name].title} as on "
        f"{found[each.reference].title} (95 % interval by the log ratio: {each.low:.1f} … "
        f"{each.high:.1f})"
        for each in error_ratios(comparison)
    ]
    perfect = [each.title for each in found.values() if not each.wrong]
    return [
        *ratios,
        *(f"{title}: no mistakes, so there is no error ratio" for title in perfect),
        *(f"{each.title}, most confused: {_pairs(each)}" for each in found.values() if each.wrong),
    ]


def conditions_lines(comparison: DatasetComparison) -> list[str]:
    """Return what the figures rest on."""
    runs = comparison.runs
    seeds = sorted({run.seed for run in runs})
    images = dict.fromkeys(f"{run.train_images:,}" for run in runs)
    flips = ", without flips" if comparison.without_flips else ""
    lines = [
        f"{comparison.model}, {comparison.parameters:,} parameters, {macs_text(comparison.macs)}; "
        f"recipe {comparison.recipe}{flips}; seed{'s' if len(seeds) > 1 else ''} "
        f"{', '.join(map(str, seeds))}; {' and '.join(images)} training images; "
        f"{' and '.join(dict.fromkeys(run.precision for run in runs))}; "
        f"{' and '.join(dict.fromkeys(run.host for run in runs))}; {comparison.created[:10]}"
    ]
    if comparison.without_flips:
        unlike = [each.title for each in map(find_dataset, comparison.names) if not each.may_flip]
        lines.append(
            f"flips are left out on every data set: an image of {' and '.join(unlike)} flipped "
            "left to right is another one"
        )
    unverified = {run.dataset for run in runs if not run.verified}
    lines += [f"{find_dataset(name).title}: unverified files" for name in sorted(unverified)]
    return lines


def _row(comparison: DatasetComparison, outcome: Outcome, several: bool) -> tuple[str, ...]:
    runs = [run for run in comparison.runs if run.dataset == outcome.name]
    validation = sum(run.validation_correct for run in runs) / sum(
        run.validation_images for run in runs
    )
    seeds = f"{100 * min(outcome.seeds):.2f} … {100 * max(outcome.seeds):.2f} %"
    return (
        outcome.title,
        f"{100 * outcome.accuracy:.2f} %",
        f"{100 * outcome.low:.2f} … {100 * outcome.high:.2f} %",
        *((seeds,) if several else ()),
        f"{100 * validation:.2f} %",
        *(f"{each.label} ({100 * each.accuracy:.2f} %)" for each in (outcome.best, outcome.worst)),
        f"{outcome.spread_points:.2f} points",
        _span([run.epochs for run in runs]),
        _span([math.ceil(run.training_seconds / 60) for run in runs]),
    )


def _pairs(outcome: Outcome) -> str:
    return ", ".join(
        f"{pair.true} → {pair.predicted} ({pair.images:.0f})" for pair in outcome.most_confused
    )


def _span(values: Sequence[int]) -> str:
    return " … ".join(str(value) for value in dict.fromkeys((min(values), max(values))))

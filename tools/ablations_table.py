"""The table of ablations of hem-50k's recipe, from results/training/ablations.jsonl."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from hemline.files import parse_json, read_bytes
from hemline.tables import Table, as_markdown, signed

_BASE = "base recipe"
_ALIKE = 1.1  # points: variants that train much worse than the base vary more than it

Accuracies = dict[str, dict[int, float]]  # of each variant and seed, in percent


def ablations_table(root: Path) -> str:
    """Return the Markdown of what each change of the recipe brings, the best change first."""
    path = root / "results" / "training" / "ablations.jsonl"
    if not path.is_file():
        return "Not measured yet.\n"
    lines = [parse_json(line, where=path.name) for line in read_bytes(path).splitlines()]
    last = lines[-1]  # lines of other bases are of earlier recipes
    lines = [each for each in lines if _base(each) == _base(last)]
    found = _accuracies(lines)
    if _BASE not in found:
        return "Not measured yet.\n"
    means = {name: float(np.mean(list(each.values()))) for name, each in found.items()}
    base = means.pop(_BASE)
    near = {_BASE, *(name for name in means if abs(means[name] - base) <= _ALIKE)}
    margin = margin_points({name: each for name, each in found.items() if name in near})
    interval = ""
    if margin is not None:
        interval = f", ± {margin:.2f} (95 % interval of one difference; more for larger losses)"
    ranked = sorted(means, key=lambda name: -means[name])
    rows = [(_BASE, f"{base:.2f} %", "")]
    rows += [(name, f"{means[name]:.2f} %", signed(means[name] - base)) for name in ranked]
    return (
        f"{as_markdown(Table.of(('change', '>validation', '>difference'), rows))}\n\n"
        f"hem-50k, {last['base_epochs']} epochs, mean of {len(found[_BASE])} seeds on "
        f"{last['images']:,} validation images; difference to the base recipe in points{interval}."
        "\n"
    )


def margin_points(found: Accuracies) -> float | None:
    """Return half the interval of the difference of two variants' means; None for too few.

    Of a randomized block design: seeds are blocks, and the deviation is that of what variants and
    seeds leave unexplained (Fisher, The Design of Experiments, 1935).
    """
    table = np.array([list(each.values()) for each in found.values()])
    variants, seeds = table.shape
    freedom = (variants - 1) * (seeds - 1)
    if not freedom:
        return None
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    variance = (rest**2).sum() / freedom
    quantile = stats.t.ppf(0.975, freedom)
    return float(quantile * math.sqrt(2 * variance / seeds))


def _accuracies(lines: list[dict[str, Any]]) -> Accuracies:
    """Return the variants that have all seeds of the base, each in the order of the seeds."""
    found: Accuracies = {}
    for line in sorted(lines, key=lambda line: line["seed"]):
        share = 100 * line["correct"] / line["images"]
        found.setdefault(line["variant"], {})[line["seed"]] = share
    seeds = found.get(_BASE, {}).keys()
    return {name: each for name, each in found.items() if each.keys() == seeds}


def _base(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["recipe"], line["base_epochs"]

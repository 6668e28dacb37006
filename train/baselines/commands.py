"""`hemline baseline`."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hemline.console import data_option, quiet, say
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import HemlineError
from hemline.host import host_facts
from hemline.tables import Table, as_text
from hemline.train.baselines.result import BaselineResult, as_json, conditions_lines, results_table
from hemline.train.baselines.table import BASELINES, Baseline, find_baseline

if TYPE_CHECKING:
    from hemline.train.baselines.process import Progress

_ALL = "all"


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--dataset",
    default="fashion-mnist",
    show_default=True,
    help="What to train on, unless --data has images of your own.",
)
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(0, 2**32 - 1),
    help="Of the classifier; svm and knn have no chance in them.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="That a classifier may use (default: all cores). They change the time only.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Use only the first so many training images, for a quick look; never cached.",
)
@click.option("--force", is_flag=True, help="Run again what is in the cache.")
@click.option("--json", "as_lines", is_flag=True, help="One JSON document a line for each result.")
@data_option
def baseline(
    names: tuple[str, ...],
    dataset: str,
    seed: int,
    threads: int | None,
    limit: int | None,
    force: bool,
    as_lines: bool,
    data: FetchOptions,
) -> None:
    """Train baseline classifiers of scikit-learn: NAME… or all; without a name, list them.

    A result is kept in the cache, and the next call shows it at once. Baselines cannot be exported.
    """
    if not names:
        click.echo(_list(as_lines=as_lines))
        return
    rows = _rows(names)
    _require_scikit_learn()
    images = load_images(dataset, data)
    from hemline.train.baselines.running import BaselineRequest, run_baseline

    results = []
    for row in rows:
        request = BaselineRequest(
            baseline=row,
            seed=seed,
            threads=threads or host_facts().cores,
            limit=limit,
            again=force,
        )
        with _ProgressLine(
            row, known=limit is None and images.dataset.name in row.published
        ) as on_progress:
            result = run_baseline(request, images, on_progress=on_progress)
        results.append(result)
        if as_lines:
            click.echo(json.dumps(as_json(result)))
    if not as_lines:
        click.echo(_text(results))


def _rows(names: Sequence[str]) -> list[Baseline]:
    """Return the rows by name, each once; `all` stands for every one."""
    wanted = [each for name in names for each in (BASELINES if name == _ALL else (name,))]
    return [find_baseline(name) for name in dict.fromkeys(wanted)]


def _require_scikit_learn() -> None:
    if importlib.util.find_spec("sklearn") is None:
        raise HemlineError("baselines need scikit-learn: pip install 'hemline[train]'")


def _text(results: Sequence[BaselineResult]) -> str:
    return "\n".join((as_text(results_table(results)), *conditions_lines(results)))


def _list(*, as_lines: bool) -> str:
    if as_lines:
        keys = ("name", "summary", "estimator", "parameters", "published", "note")
        return "\n".join(
            json.dumps({key: getattr(row, key) for key in keys}) for row in BASELINES.values()
        )
    rows = tuple(
        (
            row.name,
            row.summary,
            *(f"{100 * row.published[each]:.1f} %" for each in ("fashion-mnist", "mnist")),
        )
        for row in BASELINES.values()
    )
    columns = ("baseline", "what it is", "Fashion-MNIST", "MNIST")
    table = Table(columns=columns, numeric=(False, False, True, True), rows=rows)
    return f"{as_text(table)}\ntest accuracy as published (arXiv 1708.07747v2, Table 3)"


class _ProgressLine:
    """One line that is written over on a terminal; elsewhere a line for each phase and minute."""

    def __init__(self, row: Baseline, *, known: bool) -> None:
        self._row, self._told = row, ""
        self._text = self._said = ""
        # of the data sets that the paper has, and all of their images
        known = known and row.cpu_minutes is not None
        self._usual = f" (about {row.cpu_minutes:.0f} min of one core)" if known else ""
        self._terminal = sys.stderr.isatty() and not quiet()
        self._begun = False

    def __call__(self, progress: Progress) -> None:
        self._begun = True
        share = "" if progress.share is None else f" {100 * progress.share:.0f} %"
        minutes, seconds = divmod(int(progress.seconds), 60)
        end = f"{minutes}:{seconds:02d}{self._usual}"
        self._text = f"{self._row.name}: {progress.phase}{share}, {end}"
        if self._terminal:
            click.echo(f"\r\x1b[K{self._text}", nl=False, err=True)
            return
        moment = f"{progress.phase} {minutes}"
        if moment != self._told:
            self._told, self._said = moment, self._text
            say(self._text)

    def __enter__(self) -> _ProgressLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._terminal and self._begun:
            click.echo("\r\x1b[K", nl=False, err=True)
        elif kind is None and self._text != self._said:
            say(self._text)  # how it ended
        if kind is KeyboardInterrupt:
            raise HemlineError(
                f"interrupted: of {self._row.name} nothing is kept; what came before it is"
            )

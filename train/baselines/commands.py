"""`hemline baseline`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from hemline.arguments import flag, json_option
from hemline.console import data_option, require_package
from hemline.data.datasets import Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import InterruptedWorkError
from hemline.host import host_facts
from hemline.progress import Progress
from hemline.tables import Table, as_text
from hemline.train import options
from hemline.train.baselines.result import BaselineResult, conditions_lines, results_table
from hemline.train.baselines.result import as_json as document
from hemline.train.baselines.table import BASELINES, Baseline, find_baseline

_ALL = "all"
_LINES = "\n".join(f"  {row.name:<20} {row.summary}" for row in BASELINES.values())


@click.command(epilog=f"\b\nBaselines:\n{_LINES}")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@options.dataset_option
@options.seed_option("the classifier; svm and knn are deterministic")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="Threads of a classifier (default: all cores); no effect on accuracy.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Use only the first N training images; not cached."
)
@flag("--force", "Run again what is in the cache.")
@json_option("One JSON document a line for each result.")
@data_option
def baseline(
    names: tuple[str, ...],
    dataset: str,
    seed: int,
    threads: int | None,
    limit: int | None,
    force: bool,
    as_json: bool,
    data: FetchOptions,
) -> None:
    """Train baseline classifiers of scikit-learn.

    NAME is a baseline, or all; without a name, list them. Results are cached, so the next call
    prints them at once. Baselines cannot be exported.
    """
    if not names:
        click.echo(_list(as_lines=as_json))
        return
    rows = _rows(names)
    require_package("sklearn", "baselines need scikit-learn: pip install scikit-learn")
    images = load_images(dataset, data)
    results = []
    for row in rows:
        result = _run(row, images, seed, threads or host_facts().cores, limit, again=force)
        results.append(result)
        if as_json:
            click.echo(json.dumps(document(result)))
    if not as_json:
        click.echo("\n".join((as_text(results_table(results)), *conditions_lines(results))))


def _run(
    row: Baseline, images: Images, seed: int, threads: int, limit: int | None, *, again: bool
) -> BaselineResult:
    """Run a baseline with its progress: once a second on a terminal, now and then elsewhere."""
    from hemline.train.baselines.running import BaselineRequest, run_baseline

    # of the data sets that the paper has, and all of their images
    known = limit is None and images.dataset.name in row.published and row.cpu_minutes is not None
    usual = f" (about {row.cpu_minutes:.0f} min of one core)" if known else ""
    last = ""

    def show(phase: str, share: float | None, seconds: float) -> None:
        nonlocal last
        percent = "" if share is None else f" {100 * share:.0f} %"
        text = f"{phase}{percent}, {int(seconds) // 60}:{int(seconds) % 60:02d}{usual}"
        line = None if last.startswith(phase) else f"{row.name}: {text}"
        progress.show(text, done=share or 0, line=line)
        last = text

    request = BaselineRequest(baseline=row, seed=seed, threads=threads, limit=limit, again=again)
    try:
        with Progress(row.name, 1.0) as progress:
            result = run_baseline(request, images, on_progress=show)
            if last and not progress.on_terminal:
                progress.say(f"{row.name}: {last}")  # how it ended
    except KeyboardInterrupt as error:
        raise InterruptedWorkError(
            f"interrupted: {row.name} is not kept; the results before it are"
        ) from error
    return result


def _rows(names: Sequence[str]) -> list[Baseline]:
    """Return the rows by name, each once; `all` means every one."""
    wanted = [each for name in names for each in (BASELINES if name == _ALL else (name,))]
    return [find_baseline(name) for name in dict.fromkeys(wanted)]


def _list(*, as_lines: bool) -> str:
    if as_lines:
        keys = ("name", "summary", "estimator", "parameters", "published", "note")
        return "\n".join(
            json.dumps({key: getattr(row, key) for key in keys}) for row in BASELINES.values()
        )
    names = ("fashion-mnist", "mnist")
    rows = (
        (row.name, row.summary, *(f"{100 * row.published[name]:.1f} %" for name in names))
        for row in BASELINES.values()
    )
    table = Table.of(("baseline", "what it is", "description", ">MNIST"), rows)
    return f"{as_text(table)}\npublished test accuracy: arXiv 1708.07747v2, Table 3"

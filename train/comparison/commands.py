"""`hemline compare-datasets`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hemline.arguments import flag, json_option, output_option
from hemline.console import require_matplotlib, say
from hemline.contract import schema
from hemline.contract.card import Card
from hemline.data.datasets import DATASETS, Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import FetchError, UnknownNameError, UsageError, remedy
from hemline.tables import as_text
from hemline.train import options
from hemline.train.api import run_training
from hemline.train.commands import resumable
from hemline.train.comparison.comparison import as_json as document
from hemline.train.comparison.running import compare_datasets as compare
from hemline.train.comparison.running import for_all
from hemline.train.comparison.table import comparison_table, conditions_lines, finding_lines
from hemline.train.nets.models import MODELS, find_model
from hemline.train.request import TrainRequest, new_request

COMPARED = ("mnist", "fashion-mnist")  # the first is what the others are held to
DOCUMENT_NAME = "datasets.json"
PICTURE_NAME = "datasets.png"
_MOST_SEEDS = 100


def _folders(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Return name to folder of each NAME=FOLDER; raises UsageError."""
    del context, option
    found: dict[str, Path] = {}
    for value in values:
        name, separator, folder = value.partition("=")
        if not separator or not folder:
            raise UsageError(
                f"--data {value} is not NAME=FOLDER, as in --data {COMPARED[0]}=folder"
            )
        if name not in COMPARED:
            raise UnknownNameError("data set", name, COMPARED)
        if name in found:
            raise UsageError(f"--data gives two folders for {name}")
        if not Path(folder).is_dir():
            raise UsageError(f"--data {value}: {folder} is not a folder")
        found[name] = Path(folder)
    return found


@click.command(cls=options.RecipeCommand)
@click.option("--model", default="hem-50k", show_default=True, help=f"{', '.join(MODELS)}.")
@options.recipe_option
@click.option(
    "--seeds",
    type=click.IntRange(1, _MOST_SEEDS),
    default=1,
    show_default=True,
    help="Trainings on each data set.",
)
@output_option("Folder of checkpoints, figures and picture (default: checkpoints/MODEL-datasets).")
@flag("--force", "Replace checkpoints of anything else in the folder.")
@flag("--restart", "Discard unfinished runs in the folder.")
@json_option("One JSON document instead of a table.")
@click.option(
    "--data",
    multiple=True,
    callback=_folders,
    metavar="NAME=FOLDER",
    help="Folder with the IDX files of a data set, as in mnist=FOLDER; repeatable.",
)
@options.recipe_options
def compare_datasets(
    model: str,
    recipe_given: str | None,
    seeds: int,
    output: Path | None,
    force: bool,
    restart: bool,
    as_json: bool,
    data: dict[str, Path],
    **given: Any,
) -> None:
    """Compare how hard MNIST and Fashion-MNIST are for a model.

    Trains the model in the same way on both. To resume an interrupted run, use the same command
    again; finished checkpoints are kept.
    """
    require_matplotlib()
    row = find_model(model)
    changes = {key: value for key, value in given.items() if value is not None}
    folder = output or Path("checkpoints") / f"{row.name}-datasets"
    request = new_request(
        row,
        recipe=recipe_given or row.recipe,
        weights="random" if row.transfer_recipe else None,
        changes=changes,
        folder=folder,
        restart=restart,
    )
    datasets = {name: _load(name, data.get(name)) for name in COMPARED}
    request, without_flips = for_all(request, list(datasets.values()), given=request.given)
    if without_flips:
        _warn_of_flips(datasets, asked=bool(changes.get("flip")))
    with resumable(restart):
        found = compare(
            request, datasets, _train, seeds=seeds, without_flips=without_flips, force=force
        )
    schema.save(folder / DOCUMENT_NAME, found)
    from hemline.train.comparison.picture import draw

    draw(found, folder / PICTURE_NAME)
    say(f"written: {folder / DOCUMENT_NAME}, {folder / PICTURE_NAME}")
    lines = (as_text(comparison_table(found)), *finding_lines(found), *conditions_lines(found))
    click.echo(json.dumps(document(found)) if as_json else "\n".join(lines))


def _train(request: TrainRequest, images: Images) -> Card:
    trained = run_training(request, images)
    say(trained.summary)
    return trained.card


def _load(name: str, folder: Path | None) -> Images:
    """Return a data set's images; raises UsageError where the user's folder has others."""
    options = FetchOptions(folder=folder)
    if options.custom is not None:
        raise UsageError(f"{folder} is a custom data set, not {DATASETS[name].title}")
    try:
        return load_images(name, options)
    except FetchError as error:
        raise FetchError(str(error), remedy=remedy("put named data", dataset=name)) from error


def _warn_of_flips(datasets: dict[str, Images], *, asked: bool) -> None:
    titles = [each.dataset.title for each in datasets.values() if not each.dataset.may_flip]
    if asked:
        raise UsageError(
            f"a flipped image of {' and '.join(titles)} is a different one: omit --flip"
        )
    say(
        f"no flips on any data set: an image of {' and '.join(titles)} flipped left to right is a "
        "different one"
    )

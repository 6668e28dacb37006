"""`hemline tune`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hemline import console
from hemline.arguments import flag, json_option, output_option, ray_option, ray_task_options
from hemline.data.custom.reading import counted
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import UsageError
from hemline.progress import say
from hemline.train import options
from hemline.train.commands import resumable
from hemline.train.custom_data import named_after
from hemline.train.nets.models import DEFAULT, find_model
from hemline.train.request import new_request
from hemline.train.tuning.preparing import prepare, space_of
from hemline.train.tuning.pruning import PRUNINGS, find_pruning
from hemline.train.tuning.space import space_toml

if TYPE_CHECKING:
    from hemline.cluster import Resources
    from hemline.train.tuning.reporting import TrialPrinter
    from hemline.train.tuning.running import TrialSettings
    from hemline.train.tuning.study import Study

_prunings = "\n".join(f"  {row.name:<12} {row.summary}" for row in PRUNINGS.values())


@click.command(epilog=f"\b\nPruning:\n{_prunings}\n\n{options.MODELS_EPILOG}")
@click.argument("model", default=DEFAULT)
@options.recipe_option
@click.option(
    "--over",
    multiple=True,
    metavar="FIELD[=VALUES]",
    help="Recipe field to search: FIELD, FIELD=LOW..HIGH or FIELD=A,B,…; repeatable.",
)
@click.option(
    "--space",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file with what is searched, instead of --over.",
)
@flag("--show-space", "Print what would be searched as such a file, and exit.")
@click.option(
    "--trials",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="Trials that the study ends with, with those of other processes.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="Stop after the epoch in which this time is over.",
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs of a trial (default: the recipe's).")
@click.option(
    "--limit",
    type=click.IntRange(0),
    help="Training images of a trial; 0 for all (default: the recipe's).",
)
@click.option(
    "--validation",
    type=click.IntRange(1),
    help="Images that trials are compared on (default: the recipe's).",
)
@click.option(
    "--pruning",
    "pruning_given",
    default="median",
    show_default=True,
    metavar="NAME",
    help="How bad trials are stopped early (below).",
)
@options.seed_option("weights, order, augmentation and the values that are tried")
@options.weights_option
@output_option("Folder of the study (default: tuning/MODEL).")
@flag("--restart", "Discard the study in the folder.")
@click.option(
    "--best", default=10, show_default=True, type=click.IntRange(1), help="Rows of the table."
)
@json_option("JSON lines of all trials instead.")
@ray_option("trials side by side")
@ray_task_options("a trial")
@options.dataset_option
@console.data_option
def tune(
    model: str,
    recipe_given: str | None,
    over: tuple[str, ...],
    space: Path | None,
    show_space: bool,
    trials: int,
    timeout: float | None,
    epochs: int | None,
    limit: int | None,
    validation: int | None,
    pruning_given: str,
    seed: int,
    weights: str | None,
    output: Path | None,
    restart: bool,
    best: int,
    as_json: bool,
    ray_address: str | None,
    resources: Resources,
    dataset: str,
    data: FetchOptions,
) -> None:
    """Search for a better training recipe.

    Recipes are compared on validation images. To resume an interrupted search, use the same command
    again; several at the same time share the work.
    """
    pruning, row = find_pruning(pruning_given), find_model(model)
    deadline = None if timeout is None else time.monotonic() + 60 * timeout
    if over and space is not None:
        raise UsageError("--over and --space both define the search: use one of them")
    console.require_package("optuna", "tuning needs Optuna: pip install optuna")
    console.require_matplotlib()
    folder = output or Path("tuning") / named_after(row, data)
    request = new_request(row, recipe=recipe_given, weights=weights, seed=seed, folder=folder)
    images = load_images(dataset, data)
    searched = space_of(request, images, over=over, path=space)
    if show_space:
        click.echo(space_toml(searched), nl=False)
        return
    given = {"epochs": epochs, "limit": limit, "validation": validation}
    changes = {name: value for name, value in given.items() if value is not None}
    search = prepare(request, images, searched, changes)
    say(f"tuning {row.name} ({row.summary}) on {images.dataset.title}, in {folder}")
    from hemline.train.tensorflow import quiet_keras

    quiet_keras()
    from hemline.data.splits import split_images
    from hemline.train.tuning.reporting import TrialPrinter, report
    from hemline.train.tuning.running import TrialSettings
    from hemline.train.tuning.study import opened_study

    settings = TrialSettings(
        request=request,
        data=split_images(images, validation=search.validation, limit=search.limit or None),
        classes=len(images.dataset.labels),
        trials=trials,
        deadline=deadline,
    )
    del images  # with its test images, which nothing here may use
    with (
        resumable(restart, kept=f"{folder} keeps what was tried; ", after=""),
        opened_study(folder, search, pruning, restart=restart) as study,
    ):
        with TrialPrinter(study, trials) as printer:
            enough = _run(study, settings, printer, ray_address, resources)
        if not enough:
            say("time limit reached: run the same command again to continue")
        text, path = report(study, most=best, as_lines=as_json)
        click.echo(text)
        if path is not None:
            same = console.repeated("weights", "dataset")
            custom = console.data_words(data, to_train=True)
            console.next_step("train", row.name, "--recipe", path, *same, *custom)


def _run(
    study: Study,
    settings: TrialSettings,
    printer: TrialPrinter,
    ray_address: str | None,
    resources: Resources,
) -> bool:
    """Train the trials, here one by one or on Ray; return whether there are enough."""
    if ray_address is None:
        from hemline.train.tuning.running import run_trials

        return run_trials(study, settings, printer)
    from hemline.cluster import connected
    from hemline.train.tuning.side_by_side import run_trials_on
    from hemline.train.workers import RayWorkers

    with connected(ray_address, resources) as cluster:
        workers = RayWorkers(cluster, resources)
        say(f"{cluster}: {counted(workers.places(), 'trial')} at a time, {resources} each")
        return run_trials_on(workers, study, settings, printer)

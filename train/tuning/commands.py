"""`hemline tune`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hemline.card import Epoch
from hemline.console import data_option, quiet, require_matplotlib, say
from hemline.dataset import DATASETS, Images
from hemline.errors import HemlineError, UsageError
from hemline.fetch import FetchOptions, load_images
from hemline.tables import as_text
from hemline.train.commands import own_recipe
from hemline.train.models import ModelRow, find_model
from hemline.train.own_data import named_after
from hemline.train.recipe import RECIPES
from hemline.train.recipe_file import named_recipe
from hemline.train.tuning.preparing import TuneRequest, deadline_after, prepare, space_of
from hemline.train.tuning.pruning import PRUNINGS, find_pruning
from hemline.train.tuning.space import space_toml
from hemline.train.tuning.storage import require_optuna

if TYPE_CHECKING:
    from hemline.train.tuning.dimensions import Value
    from hemline.train.tuning.results import Results, TrialResult
    from hemline.train.tuning.running import Work
    from hemline.train.tuning.study import Study

_prunings = "; ".join(f"{row.name}: {row.summary}" for row in PRUNINGS.values())


@click.command()
@click.argument("model", default="hem-50k")
@click.option(
    "--recipe",
    "recipe_given",
    metavar="RECIPE",
    help=f"What to begin from: one of {', '.join(RECIPES)}; a TOML file; or a checkpoint "
    "(default: the model's own).",
)
@click.option(
    "--over",
    multiple=True,
    metavar="FIELD[=VALUES]",
    help="Search this field of the recipe, in its usual range, from LOW..HIGH or of A,B,…; "
    "repeatable (default: rate, decay, augmentation, width).",
)
@click.option(
    "--space",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file that says what is searched, in place of --over.",
)
@click.option("--show-space", is_flag=True, help="Print what would be searched as such a file.")
@click.option(
    "--trials",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="How many finished ones the study shall have, those of other processes too.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="Stop after the epoch in which they are over.",
)
@click.option("--epochs", type=click.IntRange(1), help="Of a trial (default: the recipe's).")
@click.option(
    "--limit",
    type=click.IntRange(0),
    help="Only the first so many training images in a trial; 0 for all (default: the recipe's).",
)
@click.option(
    "--validation",
    type=click.IntRange(1),
    help="Images that trials are compared on (default: the recipe's, at most a fifth of all).",
)
@click.option(
    "--pruning",
    "pruning_given",
    default="median",
    show_default=True,
    metavar="NAME",
    help=f"When to give a trial up early. {_prunings}.",
)
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(0, 2**32 - 1),
    help="Of weights, order, augmentation and of what is tried.",
)
@click.option(
    "--weights",
    metavar="WEIGHTS",
    help="Transfer models: imagenet (fetched by Keras), a file of weights, or random "
    "(default: imagenet).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the study (default: tuning/MODEL).",
)
@click.option("--restart", is_flag=True, help="Forget the study in the folder.")
@click.option("--best", default=10, show_default=True, type=click.IntRange(1), help="Rows shown.")
@click.option("--json", "as_lines", is_flag=True, help="JSON lines of all trials instead.")
@click.option(
    "--dataset",
    type=click.Choice(list(DATASETS)),
    default="fashion-mnist",
    show_default=True,
    help="What to train on, unless --data says otherwise.",
)
@data_option
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
    as_lines: bool,
    dataset: str,
    data: FetchOptions,
) -> None:
    """Search for a better recipe of a model, by what validation images say.

    The same command goes on where an interrupted one stopped; several at once share the work.
    """
    pruning, deadline, row = find_pruning(pruning_given), deadline_after(timeout), find_model(model)
    require_optuna()
    require_matplotlib()
    file = _weights(row, weights)
    request = TuneRequest(
        model=row,
        recipe=named_recipe(recipe_given or own_recipe(row, pretrained=file is not None))[1],
        seed=seed,
        epochs=epochs,
        limit=limit,
        validation=validation,
        over=over,
        space=space,
        weights=file,
    )
    images = load_images(dataset, data)
    if show_space:
        click.echo(space_toml(space_of(request, images)), nl=False)
        return
    search, folder = prepare(request, images), output or Path("tuning") / named_after(row, data)
    _say_hello(request, images, folder)
    from hemline.train.tensorflow import quiet_keras

    quiet_keras()
    from hemline.train.split import split_images
    from hemline.train.tuning.running import Work
    from hemline.train.tuning.study import opened_study

    work = Work(
        model=row,
        data=split_images(images, validation=search.validation, limit=search.limit or None),
        classes=len(images.dataset.labels),
        weights=file,
        trials=trials,
        deadline=deadline,
    )
    del images  # with its test images, which nothing here may look at
    try:
        with opened_study(folder, search, pruning, restart=restart) as study:
            _search(study, work)
            click.echo(_outcome(study, most=best, as_lines=as_lines))
    except KeyboardInterrupt as error:
        again = "the same command without --restart" if restart else "the same command"
        raise HemlineError(
            f"interrupted: {folder} keeps what was tried; {again} goes on"
        ) from error


def _weights(model: ModelRow, choice: str | None) -> Path | None:
    """Return the file of pretrained weights that was asked for; None for random ones."""
    if model.transfer_recipe is None:
        if choice is not None:
            raise UsageError(f"{model.name} has no pretrained weights: leave --weights out")
        return None
    from hemline.train.pretrained import pretrained_weights

    return pretrained_weights(model, choice or "imagenet")


def _say_hello(request: TuneRequest, images: Images, folder: Path) -> None:
    model = request.model
    say(f"tuning {model.name} ({model.summary}) on {images.dataset.title}, in {folder}")


def _search(study: Study, work: Work) -> None:
    from hemline.train.tuning.running import run_trials

    with _Printer(study, work.trials) as printer:
        enough = run_trials(study, work, printer)
    if not enough:
        say("the time is over: the same command goes on")


def _outcome(study: Study, *, most: int, as_lines: bool) -> str:
    """Draw the pictures, and return what to tell of the study."""
    from hemline.train.tuning.pictures import draw
    from hemline.train.tuning.results import as_json, results_of
    from hemline.train.tuning.running import write_best

    path = write_best(study)
    results = results_of(study.search, study.trials())
    with study.alone():
        pictures = draw(results, study.importances(), study.folder)
    if pictures:
        names = ", ".join(picture.name for picture in pictures)
        say(f"pictures in {study.folder}: {names}")
    if as_lines:
        return "\n".join(json.dumps(as_json(each)) for each in results.trials)
    return "\n".join(_lines(results, path, most))


def _lines(results: Results, recipe: Path | None, most: int) -> list[str]:
    from hemline.train.tuning.results import table

    lines = [as_text(table(results, most=most)), ""] if results.best else []
    seconds = sum(each.seconds or 0.0 for each in results.trials)
    others = [f"{results.count(state)} {state}" for state in ("pruned", "running", "failed")]
    states = [f"{results.count('complete')} complete", *(o for o in others if o[0] != "0")]
    lines.append(f"{len(results.trials)} trials: {', '.join(states)}; {seconds / 60:.1f} minutes")
    error = results.standard_error
    if error is not None:
        lines.append(
            f"one standard error on {results.search.validation:,} validation images is "
            f"{100 * error:.2f} points: the best of many trials looks better than it is"
        )
    own = next((each for each in results.ranked() if each.number == 0), None)
    if own is not None and own.accuracy is not None:
        lines.append(f"the recipe itself (trial 0): {100 * own.accuracy:.2f} %")
    if recipe is not None:
        lines.append(f"best recipe: hemline train {results.search.model} --recipe {recipe}")
    return lines


class _Printer:
    """A line for each trial; on a terminal also one that is written over with each epoch."""

    def __init__(self, study: Study, wanted: int) -> None:
        self._study, self._wanted = study, wanted
        self._terminal = sys.stderr.isatty() and not quiet()
        self._number = 0

    def begin(self, number: int, values: dict[str, Value], epochs_done: int) -> None:
        """Say that a trial begins, or goes on."""
        self._number = number
        if epochs_done:
            self._print(f"trial {number:>3}  goes on after epoch {epochs_done}")
        self._show(" ".join(f"{field} {value}" for field, value in values.items()))

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Show an epoch."""
        accuracy = 100 * epoch.validation_accuracy
        self._show(f"epoch {epoch.epoch}/{epochs}, validation {accuracy:.2f} %")

    def end(self, number: int) -> None:
        """Say what came of a trial."""
        from hemline.train.tuning.results import results_of

        results = results_of(self._study.search, self._study.trials())
        done = results.count("complete") + results.count("pruned")
        result = next(each for each in results.trials if each.number == number)
        best = "  best so far" if result == results.best else ""
        self._print(f"trial {number:>3}  {_told(result)}{best}  ({done} of {self._wanted})")

    def _print(self, text: str) -> None:
        self._clear()
        say(text)

    def _show(self, text: str) -> None:
        if self._terminal:
            click.echo(f"\r\x1b[Ktrial {self._number:>3}  {text}"[: _columns()], nl=False, err=True)

    def _clear(self) -> None:
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)

    def __enter__(self) -> _Printer:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._clear()


def _told(result: TrialResult) -> str:
    figure = f"{100 * (result.last or 0.0):.2f} %"
    how = result.reason or f"{len(result.epochs)} epochs"
    return f"{figure}  {how}, {result.seconds or 0.0:.1f} s"


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns

"""Report how a search goes on, and its result."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from hemline.contract.card import Epoch
from hemline.progress import Progress, say
from hemline.tables import as_text
from hemline.train.tuning.dimensions import Value, shown
from hemline.train.tuning.pictures import draw
from hemline.train.tuning.results import STATES, Results, TrialResult, results_of, table
from hemline.train.tuning.running import write_best
from hemline.train.tuning.study import Study


def report(study: Study, *, most: int, as_lines: bool) -> tuple[str, Path | None]:
    """Draw the pictures; return the text on the study, and the file of its best recipe if any.

    most: rows of the table; as_lines: JSON lines of all trials instead.
    """
    path = write_best(study)
    results = results_of(study.search, study.trials())
    with study.alone():
        pictures = draw(results, study.importances(), study.folder)
    if pictures:
        names = ", ".join(picture.name for picture in pictures)
        say(f"pictures in {study.folder}: {names}")
    if as_lines:
        return "\n".join(json.dumps(asdict(each)) for each in results.trials), path
    return "\n".join(_lines(results, most)), path


def _lines(results: Results, most: int) -> list[str]:
    lines = [as_text(table(results, most=most)), ""] if results.best else []
    seconds = sum(each.seconds or 0.0 for each in results.trials)
    counts = {state: results.count(state) for state in STATES.values()}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines.append(f"{len(results.trials)} trials: {states}; {seconds / 60:.1f} minutes")
    error = results.standard_error
    if error is not None:
        lines.append(
            f"one standard error on {results.search.validation:,} validation images is "
            f"{100 * error:.2f} points: the best of many trials looks better than it is"
        )
    own = next((each for each in results.ranked() if each.number == 0), None)
    if own is not None and own.accuracy is not None:
        lines.append(f"the recipe itself (trial 0): {100 * own.accuracy:.2f} %")
    return lines


class TrialPrinter(Progress):
    """A line for each trial; on a terminal also a bar that shows its values and epochs."""

    def __init__(self, study: Study, wanted: int) -> None:
        super().__init__("trials", wanted)
        self._study, self._wanted = study, wanted

    def begin(self, number: int, values: dict[str, Value], epochs_done: int) -> None:
        """Show the values of a trial that begins or continues."""
        if epochs_done:
            self.say(f"trial {number:>3}  continues after epoch {epochs_done}")
        self._show(number, " ".join(f"{field} {shown(value)}" for field, value in values.items()))

    def epoch(self, number: int, epoch: Epoch, epochs: int) -> None:
        """Show an epoch."""
        accuracy = 100 * epoch.validation_accuracy
        self._show(number, f"epoch {epoch.epoch}/{epochs}, validation {accuracy:.2f} %")

    def end(self, number: int) -> None:
        """Print the result of a trial."""
        results = results_of(self._study.search, self._study.trials())
        done = results.count("complete") + results.count("pruned")
        result = next(each for each in results.trials if each.number == number)
        best = "  best so far" if result == results.best else ""
        self.say(f"trial {number:>3}  {_result_text(result)}{best}  ({done} of {self._wanted})")

    def _show(self, number: int, text: str) -> None:
        self.show(f"trial {number}  {text}", done=number)


def _result_text(result: TrialResult) -> str:
    figure = "      –" if result.last is None else f"{100 * result.last:.2f} %"
    how = result.reason or f"{len(result.epochs)} epoch{'s' * (len(result.epochs) > 1)}"
    return f"{figure}  {how}, {result.seconds or 0.0:.1f} s"

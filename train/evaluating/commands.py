"""`hemline evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hemline import files
from hemline.console import data_option, require_matplotlib, say
from hemline.contract import schema
from hemline.contract.evaluation_set import SPLITS
from hemline.data.fetch import FetchOptions
from hemline.errors import HemlineError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hemline.train.evaluating.pictures import Look
    from hemline.train.evaluating.result import Evaluation

REPORT_NAME = "report.html"


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="CHECKPOINT|ARTIFACT...",
)
@click.option("--split", help="validation or test (default: test; of several, validation).")
@click.option("--runtime", help="For artifacts: litert, onnxruntime==1.31.1, …")
@click.option("--ensemble", is_flag=True, help="Average the probabilities of several too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of tables.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for pictures and report.html.",
)
@click.option("--layer", help="Whose feature maps to draw (default: the first convolution).")
@click.option("--force", is_flag=True, help="Replace a report in the folder.")
@data_option
def evaluate(
    paths: tuple[Path, ...],
    split: str | None,
    runtime: str | None,
    ensemble: bool,
    as_json: bool,
    output: Path | None,
    layer: str | None,
    force: bool,
    data: FetchOptions,
) -> None:
    """Tell how well checkpoints or artifacts answer: accuracy, classes, confusion, calibration.

    Several are compared on the same images.
    """
    if split is not None and split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if layer is not None and output is None:
        raise UsageError("--layer is for pictures: name a folder for them with -o")
    _require_scikit_learn()
    if output is None:
        evaluation, _ = _evaluate(paths, split, runtime, data, ensemble, layer)
    else:
        require_matplotlib()
        if (output / REPORT_NAME).exists() and not force:
            raise UsageError(f"{output} holds a report: use --force or another --output")
        with files.locked(output):
            evaluation, looks = _evaluate(paths, split, runtime, data, ensemble, layer)
            _draw(evaluation, looks, output)
    click.echo(_text(evaluation, as_json=as_json))


def _evaluate(
    paths: tuple[Path, ...],
    split: str | None,
    runtime: str | None,
    data: FetchOptions,
    ensemble: bool,
    layer: str | None,
) -> tuple[Evaluation, tuple[Look, ...]]:
    from hemline.train.evaluating.running import EvaluationRequest
    from hemline.train.evaluating.running import evaluate as evaluate_all

    request = EvaluationRequest(
        paths=paths, split=split, runtime=runtime, data=data, ensemble=ensemble, layer=layer
    )
    return evaluate_all(request, say=say)


def _draw(evaluation: Evaluation, looks: Sequence[Look], output: Path) -> None:
    from hemline.train.evaluating.page import write_report
    from hemline.train.evaluating.pictures import draw_all

    say("drawing")
    drawn = [draw_all(look, output) for look in looks]
    for look, pictures in zip(looks, drawn, strict=True):
        for reason in dict.fromkeys(each.reason for each in pictures if each.reason):
            names = ", ".join(each.picture.name for each in pictures if each.reason == reason)
            say(f"{look.result.origin.name}: no {names}: {reason}")
    write_report(output / REPORT_NAME, evaluation, drawn)
    say(f"pictures and report: {output / REPORT_NAME}")


def _text(evaluation: Evaluation, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(schema.to_document(evaluation), indent=1, allow_nan=False)
    from hemline.train.evaluating.text import as_report

    return as_report(evaluation)


def _require_scikit_learn() -> None:
    import importlib.util

    if importlib.util.find_spec("sklearn") is None:
        raise HemlineError("evaluation needs scikit-learn: pip install 'hemline[train]'")

"""`hemline evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hemline import arguments, console, files
from hemline.contract import schema
from hemline.contract.checkpoint import is_checkpoint
from hemline.contract.evaluation_set import SPLITS
from hemline.data.fetch import FetchOptions
from hemline.errors import UnknownNameError, UsageError
from hemline.progress import say
from hemline.tables import as_csv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hemline.bench.evaluation.images import SplitImages
    from hemline.bench.evaluation.result import Evaluation
    from hemline.bench.evaluation.running import EvaluationRequest, EvaluationRun
    from hemline.bench.evaluation.target import EvaluationTarget
    from hemline.train.explanation.pictures import ExplainedModel

REPORT_NAME = "report.html"
MISTAKES_NAME = "mistakes.csv"


@click.command()
@arguments.path_argument("paths", "CHECKPOINT|ARTIFACT…", only=arguments.only_checkpoint)
@click.option("--split", help=f"{' or '.join(SPLITS)} (default: test; of several, validation).")
@click.option(
    "--runtime", help="Of artifacts: litert, tflite-runtime or onnxruntime, as litert==1.4.0."
)
@console.strangers_option
@arguments.flag("--ensemble", "Also average the probabilities of all.")
@arguments.json_option("One JSON document instead of tables.")
@arguments.output_option("Folder for pictures and report.html.")
@click.option(
    "--layer", help="Layer whose feature maps are drawn (default: the first convolution)."
)
@arguments.flag("--force", "Replace a report in the folder.")
@console.data_option
def evaluate(
    paths: tuple[Path, ...],
    split: str | None,
    runtime: str | None,
    strangers: tuple[str, ...],
    ensemble: bool,
    as_json: bool,
    output: Path | None,
    layer: str | None,
    force: bool,
    data: FetchOptions,
) -> None:
    """Report accuracy, confusion and calibration of models.

    Several checkpoints and artifacts are compared on the same images. With --strangers it reports
    how well images of no class are told from them.
    """
    if split is not None and split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if layer is not None and output is None:
        raise UsageError("--layer is for pictures: name a folder for them with -o")
    console.require_package("sklearn", "evaluation needs scikit-learn: pip install scikit-learn")
    from hemline.bench.evaluation.running import EvaluationRequest
    from hemline.bench.evaluation.text import as_report

    request = EvaluationRequest(
        paths=paths,
        split=split,
        runtime=runtime,
        data=data,
        ensemble=ensemble,
        strangers=strangers,
    )
    if output is None:
        evaluation, _, _ = _evaluated(request, layer)
    else:
        console.require_matplotlib()
        if (output / REPORT_NAME).exists() and not force:
            raise UsageError(f"{output} holds a report: use --force or another --output")
        with files.locked(output):
            evaluation, runs, explained = _evaluated(request, layer)
            _draw(evaluation, runs, explained, output)
    if as_json:
        click.echo(json.dumps(schema.to_document(evaluation), indent=1, allow_nan=False))
    else:
        click.echo(as_report(evaluation))
    if is_checkpoint(paths[0]) and len(paths) == 1:
        console.next_step("export", paths[0], *console.data_words(data))


def _evaluated(
    request: EvaluationRequest, layer: str | None
) -> tuple[Evaluation, Sequence[EvaluationRun], Sequence[ExplainedModel | None]]:
    from hemline.bench.evaluation.running import evaluate as evaluate_all
    from hemline.bench.evaluation.running import prepare, run_all
    from hemline.bench.evaluation.strangers import separations_of
    from hemline.data.strangers import load_strangers, own_classes

    pairs = prepare(request)
    checkpoints = sum(target.card is not None for target, _ in pairs)
    if request.runtime is not None and checkpoints == len(pairs):
        raise UsageError("--runtime is for artifacts: a checkpoint is run by Keras")
    if layer is not None and not checkpoints:
        raise UsageError("--layer is for checkpoints: an artifact does not show its layers")
    if checkpoints:
        say("loading TensorFlow")
    labels = {label: None for target, _ in pairs for label in target.spec.labels}
    for note in own_classes(request.strangers, labels):
        say(note)
    inputs = {target.spec.preprocessing: target.spec.input for target, _ in pairs}  # of one shape
    sets = {  # before the work, because one may be missing
        way: [load_strangers(name, spec, way) for name in request.strangers]
        for way, spec in inputs.items()
    }
    explained = _explained(pairs, layer)
    for target, split in pairs:
        say(f"{target.name}: {len(split.labels):,} {split.name} images from {split.source}")
    summaries, logits = [() if each is None else each.layers for each in explained], run_all(pairs)
    separations = [
        separations_of(target, split, values, sets[target.spec.preprocessing])
        for (target, split), values in zip(pairs, logits, strict=True)
    ]
    evaluation, runs = evaluate_all(
        pairs, logits, summaries=summaries, ensemble=request.ensemble, separations=separations
    )
    return evaluation, runs, [*explained, *(None for _ in runs[len(explained) :])]


def _explained(
    pairs: Sequence[tuple[EvaluationTarget, SplitImages]], layer: str | None
) -> list[ExplainedModel | None]:
    """Load the model of each checkpoint, None for an artifact."""
    from hemline.train.explanation.pictures import load_explained

    return [
        None if target.card is None else load_explained(target.path, target.card, layer)
        for target, _ in pairs
    ]


def _draw(
    evaluation: Evaluation,
    runs: Sequence[EvaluationRun],
    explained: Sequence[ExplainedModel | None],
    output: Path,
) -> None:
    from hemline.bench.evaluation.pictures import PICTURES, gallery_of, subtitle_of
    from hemline.bench.evaluation.report import write_report
    from hemline.bench.evaluation.text import wrong_table
    from hemline.figures import draw_all
    from hemline.train.explanation.pictures import EXPLANATIONS, Explanation

    say("drawing")
    pictures = []
    names = folder_names([run.result.origin.name for run in runs])
    for run, name, model in zip(runs, names, explained, strict=True):
        kind = run.result.origin.kind
        explanation = Explanation(kind=kind, explained=model, gallery=gallery_of(run))
        folder, subtitle = output / name, subtitle_of(run)
        drawn = draw_all(PICTURES, run, folder, subtitle)
        files.write_bytes(folder / MISTAKES_NAME, as_csv(wrong_table(run.result)).encode())
        drawn += draw_all(EXPLANATIONS, explanation, folder, subtitle)
        for reason in dict.fromkeys(each.reason for each in drawn if each.reason):
            missing = ", ".join(each.name for each in drawn if each.reason == reason)
            say(f"{run.result.origin.name}: no {missing}: {reason}")
        pictures.append(drawn)
    write_report(output / REPORT_NAME, evaluation, pictures)
    say(f"pictures and report: {output / REPORT_NAME}; wrong predictions: {MISTAKES_NAME}")


def folder_names(names: Sequence[str]) -> list[str]:
    """Return a folder for the pictures of each path: its last parts, as many as it takes."""
    if len(names) == 1:
        return ["."]
    parts = [Path(name).absolute().parts for name in names]
    depths = range(1, max(map(len, parts)) + 1)
    found = (["-".join(each[-depth:]) for each in parts] for depth in depths)
    numbers = [str(at + 1) for at in range(len(names))]
    return next((each for each in found if len(set(each)) == len(each)), numbers)

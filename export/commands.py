"""`hemline export`, `hemline plan` and `hemline verify`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from hemline import files
from hemline.arguments import FILE, FOLDER, json_option, output_option, path_argument
from hemline.console import (
    model_data_option,
    next_step,
    require_custom,
    require_matplotlib,
    runtimes_option,
    say,
)
from hemline.contract import schema
from hemline.contract.checkpoint import is_checkpoint, read_card
from hemline.contract.manifest import Manifest
from hemline.data.datasets import Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import GateError, UsageError, remedy
from hemline.export.budget.commands import Within, export_within, within_options
from hemline.export.importing.commands import ImportOptions, import_options, imported, summary
from hemline.export.importing.target import ExportTarget, find_export_target
from hemline.export.input_options import InputOptions, input_options
from hemline.export.quantization.commands import post_training_options
from hemline.export.scheme import Scheme
from hemline.export.schemes import find_schemes
from hemline.export.trained_data import trained_images
from hemline.export.user_images import GENERATED
from hemline.export.verdict_table import NamedVerdict, reasons, verdict_tables
from hemline.small_sets import few_images
from hemline.tables import as_text
from hemline.train.checkpoint import ZOO
from hemline.train.custom_data import named_after
from hemline.train.nets.models import ModelRow, find_model

if TYPE_CHECKING:
    from hemline.export.quantization.options import PostTrainingOptions

_QUICK_EPOCHS = 2


@click.command()
@click.argument("target", metavar="[MODEL]", required=False)
@click.option(
    "--model",
    default="hem-50k",
    show_default=True,
    help="Name of the model, if MODEL is not given.",
)
@click.option(
    "--checkpoint",
    type=FOLDER,
    help="Folder of a checkpoint (default: checkpoints/MODEL, or MODEL-DATA with your own images; "
    "else the shipped one).",
)
@output_option("Folder of the bundle (default: artifacts/ and the checkpoint's name).")
@click.option("--scheme", "schemes", multiple=True, help="int8, int8.onnx, …; repeat for more.")
@post_training_options
@click.option(
    "--calibration-report",
    "compares",
    is_flag=True,
    help="Compare the calibrators on 16 … 2,048 images: table, calibration.json and .png.",
)
@click.option(
    "--qat-epochs",
    type=click.IntRange(min=1),
    help="Passes over the training images for int8-qat and int8-w4 (default: some 600 steps).",
)
@click.option(
    "--batch",
    type=click.Choice(["dynamic", "1"]),
    default="dynamic",
    show_default=True,
    help="Images at a time: any number, or one, as some compilers demand.",
)
@click.option("--with-embedding", is_flag=True, help="Also give what the last layer reads.")
@click.option(
    "--store-images",
    is_flag=True,
    help="Store two of your validation images in each file for its self-test (default: generated "
    "images; published data sets always store theirs).",
)
@click.option("--train", "train_anew", is_flag=True, help="Train anew, whatever is there.")
@click.option("--quick", is_flag=True, help="6,000 images and 2 epochs, in folders of their own.")
@within_options
@import_options
@model_data_option
def export(
    target: str | None,
    model: str,
    checkpoint: Path | None,
    output: Path | None,
    schemes: tuple[str, ...],
    post_training: PostTrainingOptions,
    compares: bool,
    qat_epochs: int | None,
    batch: str,
    with_embedding: bool,
    store_images: bool,
    train_anew: bool,
    quick: bool,
    within: Within | None,
    options: ImportOptions,
    data: FetchOptions,
) -> None:
    """Export a model to TFLite and ONNX, and verify each file.

    MODEL is the name of a model, the folder of a checkpoint, or a file made elsewhere: .keras, .h5,
    .tflite, .onnx or the folder of a SavedModel, which is imported first. A model of Hemline's that
    has no checkpoint is trained first. Only what changed is made again. Your own images are needed
    again, with --data: to calibrate, and to judge every file.

    With a budget (--max-drop, --max-kb, --max-ms) remedies for the 8-bit file are tried, the
    cheapest first, until one fits. Exit code 3 with the nearest when none does.
    """
    rows = find_schemes(schemes)
    if compares:
        require_matplotlib()
    found = _target(target, model, checkpoint)
    if found.kind != "preset" and train_anew:
        raise UsageError(f"{found.name} is not trained here: leave --train out")
    if found.kind == "file":
        source, data = _imported(found, options, data)
    else:
        require_custom(data)
        if options != ImportOptions():
            raise UsageError(f"{found.name} is not imported: leave the options of an import out")
        source = found.path or _checkpoint(find_model(found.name), quick, train_anew, data)
    bundle = output or Path("artifacts") / source.resolve().name
    card = read_card(source)
    images = trained_images(card, data, checkpoint=source)
    rows = _possible(rows, images, post_training.calibrator, asked=bool(schemes))
    from hemline.export.bundle import ExportRequest, export_bundle
    from hemline.export.quantization.options import QuantizationOptions
    from hemline.export.verification import verify_bundle

    request = ExportRequest(
        checkpoint=source,
        bundle=bundle,
        schemes=rows,
        options=QuantizationOptions(
            post_training=post_training,
            training_epochs=qat_epochs or (_QUICK_EPOCHS if quick else None),
        ),
        embedding=with_embedding,
        store_images=store_images,
        one_image=batch == "1",
    )
    with files.locked(bundle):
        if within is None:
            manifest = export_bundle(request, images, say=say)
            manifest = verify_bundle(bundle, manifest, say=say)
        else:
            manifest = export_within(within, request, images)
    say(f"{bundle}: {len(manifest.artifacts)} artifacts, all passed in their supported runtimes")
    for line in few_images(len(images.test_images)) if images.labelled else ():
        say(line)
    if compares:
        _compare_calibrators(source, bundle, images, post_training.seed)
    if schemes:
        _require_made(manifest, rows)
    next_step("compare", bundle)


@click.command()
@path_argument("path", "BUNDLE|ARTIFACT")
@json_option("One JSON document a line for each plan.")
def plan(path: Path, as_json: bool) -> None:
    """Show how the 8-bit files of a bundle are quantized.

    Prints the grid of each layer's weights and the range of each activation, with the calibrator
    and the images that gave the ranges, and the corrections that were applied.
    """
    from hemline.export.quantization.plan_table import (
        origin_line,
        plan_tables,
        read_plans,
        step_lines,
    )

    plans = read_plans(path)
    if as_json:
        for name, found in plans.items():
            click.echo(json.dumps({"artifact": name, **schema.to_document(found)}))
        return
    texts = [
        text
        for name, found in plans.items()
        for text in (
            "\n".join((origin_line(name, found), *step_lines(path, name))),
            *map(as_text, plan_tables(found)),
        )
    ]
    click.echo("\n\n".join(texts))


@click.command()
@path_argument("target", "BUNDLE|FILE")
@json_option("One JSON document a line for each verdict.")
@click.option(
    "--labels", help="Of a foreign file: names a,b,… or a file (lines, numbered, JSON, CSV)."
)
@input_options
@click.option(
    "--output", "gives", type=click.Choice(["logits", "probabilities"]), help="What it gives."
)
@click.option("--images", type=FILE, help="Images to run as well, .npy, uint8 (n, h, w, c).")
@click.option("--expected", type=FILE, help="Their classes, .npy, integers (n,).")
@click.option("-o", "--out", type=FILE, help="Stamped copy (default: FILE's name with -admitted).")
@runtimes_option
def verify(
    target: Path,
    as_json: bool,
    labels: str | None,
    source: InputOptions,
    gives: Literal["logits", "probabilities"] | None,
    images: Path | None,
    expected: Path | None,
    out: Path | None,
    runtimes: tuple[str, ...],
) -> None:
    """Verify a bundle or a file in every installed runtime.

    Exit code 3 when a file fails in a runtime that it supports. With --runtime, a bundle is also
    verified in versions that were added (`hemline runtimes add`). A file made elsewhere is
    admitted: run in separate processes, then stamped.
    """
    from hemline.export.admission.commands import ForeignOptions, verify_file

    options = ForeignOptions(
        labels=labels,
        source=source,
        gives=gives,
        images=images,
        expected=expected,
        output=out,
    )
    if runtimes and not target.is_dir():
        raise UsageError(f"{target} is a file: only a bundle is verified with --runtime")
    if not target.is_dir():
        verify_file(target, options, as_json=as_json)
        return
    if options.given:
        raise UsageError(f"{target} is a bundle: only a foreign file takes these options")
    _verify_bundle(target, runtimes, as_json)


def _verify_bundle(bundle: Path, runtimes: tuple[str, ...], as_json: bool) -> None:
    from hemline.contract.manifest import read_manifest
    from hemline.export.verification import verify_bundle
    from hemline.runtime.targets import find_targets

    targets = find_targets(runtimes) if runtimes else None
    refused: GateError | None = None
    with files.locked(bundle):
        try:
            manifest = verify_bundle(bundle, read_manifest(bundle), targets, say=say)
        except GateError as error:  # the verdicts were written before it was raised
            refused, manifest = error, read_manifest(bundle)
    _print_verdicts(
        [(a.name, verdict) for a in manifest.artifacts for verdict in a.verdicts], as_json
    )
    if refused is not None:
        raise refused
    next_step("compare", bundle)


def _print_verdicts(verdicts: list[NamedVerdict], as_json: bool) -> None:
    if as_json:
        for name, verdict in verdicts:
            click.echo(json.dumps({"artifact": name, **schema.to_document(verdict)}))
        return
    texts = [as_text(table) for table in verdict_tables(verdicts)]
    tested = [score.images for _, verdict in verdicts if (score := verdict.score("test"))]
    lines = [*reasons(verdicts), *(few_images(max(tested)) if tested else ())]
    click.echo("\n\n".join([*texts, *(["\n".join(lines)] if lines else [])]))


def _compare_calibrators(checkpoint: Path, bundle: Path, images: Images, seed: int) -> None:
    from hemline.export.calibration_report import write_comparison
    from hemline.export.quantization.calibrators.comparison import comparison_table

    with files.locked(bundle):
        found = write_comparison(checkpoint, bundle, images, seed=seed, say=say)
    click.echo(as_text(comparison_table(found)))


def _require_made(manifest: Manifest, rows: tuple[Scheme, ...]) -> None:
    """Raise GateError when a scheme that was asked for could not be made."""
    names = {row.file_name for row in rows}
    missing = [each for each in manifest.left_out if each.needed and each.name in names]
    if missing:
        raise GateError("; ".join(f"left out {each.name}: {each.reason}" for each in missing))


def _target(target: str | None, model: str, checkpoint: Path | None) -> ExportTarget:
    """Return what to export: MODEL, or what the options name."""
    if target is not None:
        if (
            checkpoint is not None
            or click.get_current_context().get_parameter_source("model")
            is not ParameterSource.DEFAULT
        ):
            raise UsageError(f"{target} is named already: leave --model and --checkpoint out")
        return find_export_target(target)
    if checkpoint is not None:
        return ExportTarget(kind="checkpoint", name=checkpoint.resolve().name, path=checkpoint)
    return ExportTarget(kind="preset", name=find_model(model).name)


def _imported(
    found: ExportTarget, options: ImportOptions, data: FetchOptions
) -> tuple[Path, FetchOptions]:
    """Import a model; return its checkpoint and how its images are read."""
    if found.path is None:
        raise AssertionError("a model's file has a path")
    folder, card = imported(found.path, None, options, data)
    for line in summary(card, folder):
        say(line)
    # the labels are the model's; the classes of the images are brought into their order
    return folder, replace(data, reading=replace(data.reading, labels=None))


def _possible(
    rows: tuple[Scheme, ...], images: Images, calibrator: str, *, asked: bool
) -> tuple[Scheme, ...]:
    """Return the schemes that can be exported: without data those that need no images of it."""
    from hemline.export.quantization.calibrators.table import find_calibrator

    calibrated = [row.file_name for row in rows if row.calibrated]
    synthetic = find_calibrator(calibrator).synthetic and not any(row.searches for row in rows)
    if images.dataset.name != GENERATED or not calibrated or synthetic:
        return rows
    problem = f"{', '.join(calibrated)} cannot be made: calibration needs images"
    if asked:
        raise UsageError(problem, remedy=remedy("name images"))
    say(
        f"{problem}, some hundred, labelled or not (--data), or --calibrator synthetic; verified "
        "on generated images"
    )
    return tuple(row for row in rows if not row.calibrated)


def _checkpoint(model: ModelRow, quick: bool, train_anew: bool, data: FetchOptions) -> Path:
    """Return the folder of the checkpoint to export: trained before, shipped, or trained now."""
    name = f"{named_after(model, data)}{'-quick' if quick else ''}"
    folder = Path("checkpoints") / name
    if not train_anew:
        for known in (folder, ZOO / name):
            if is_checkpoint(known):
                say(f"checkpoint: {'comes with Hemline' if known != folder else folder}")
                return known
    from hemline.train.commands import run_training, summary
    from hemline.train.request import new_request

    request = new_request(model, folder=folder, recipe="quick" if quick else None)
    images = load_images("fashion-mnist", data)
    say(summary(run_training(request, images), folder))
    return folder

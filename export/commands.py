"""`hemline export`, `hemline plan` and `hemline verify`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hemline import arguments, console, files
from hemline.contract import schema
from hemline.contract.card import Card
from hemline.contract.checkpoint import CARD_NAME, is_checkpoint, read_card
from hemline.contract.manifest import Manifest, Verdict
from hemline.data.class_names import unknown_among
from hemline.data.custom.loading import name_of
from hemline.data.fetch import FetchOptions
from hemline.errors import GateError, UsageError, remedy
from hemline.export.api import export as export_model
from hemline.export.api import verify as verify_files
from hemline.export.budget.commands import Within, report_search, within_options
from hemline.export.importing.commands import (
    ImportOptions,
    import_file,
    import_options,
    next_with_images,
)
from hemline.export.importing.target import ExportTarget, find_export_target
from hemline.export.input_options import input_options
from hemline.export.quantization.commands import post_training_options
from hemline.export.scheme import Scheme
from hemline.export.schemes import NAMES, find_schemes
from hemline.export.trained_data import trained_images
from hemline.export.verdict_table import NamedVerdict, reasons, verdict_tables
from hemline.progress import say
from hemline.signing.commands import require_signed
from hemline.small_sets import few_images
from hemline.tables import as_text
from hemline.train.custom_data import named_after
from hemline.train.nets.models import DEFAULT, find_model
from hemline.train.options import MODELS_EPILOG
from hemline.working_folder import only_one

if TYPE_CHECKING:
    from hemline.export.api import ExportResult
    from hemline.export.quantization.options import PostTrainingOptions


@click.command(epilog=MODELS_EPILOG)
@click.argument("target", metavar="[MODEL]", required=False)
@click.option("--model", hidden=True, help="As MODEL.")
@click.option("--checkpoint", type=arguments.FOLDER, help="A checkpoint, instead of MODEL.")
@arguments.output_option("Folder of the bundle (default: artifacts/ and the checkpoint's name).")
@click.option("--scheme", "schemes", multiple=True, help=f"{NAMES}; or as int8.onnx; repeatable.")
@post_training_options
@arguments.flag("--calibration-report", "Compare the calibrators: table and picture.", "compares")
@click.option(
    "--qat-epochs",
    type=click.IntRange(min=1),
    help="Epochs of int8-qat and int8-w4 (default: some 600 steps).",
)
@click.option(
    "--batch",
    type=click.Choice(["dynamic", "1"]),
    default="dynamic",
    show_default=True,
    help="Images per call: any number, or 1 as some compilers require.",
)
@arguments.flag("--with-embedding", "Add the input of the last layer as an output.")
@click.option(
    "--unknown",
    type=click.Choice(["score", "distance", "auto"]),
    help="What makes an image unknown: its score, its distance to the classes, or the better.",
)
@console.strangers_option
@arguments.flag("--store-images", "Store two of your validation images in each file.")
@arguments.flag("--train", "Train again, even if there is a checkpoint.", "train_anew")
@arguments.flag("--quick", "Train 2 epochs on 6,000 images, in folders of their own.")
@within_options
@import_options
@console.model_data_option
def export(
    target: str | None,
    model: str | None,
    checkpoint: Path | None,
    output: Path | None,
    schemes: tuple[str, ...],
    post_training: PostTrainingOptions,
    compares: bool,
    qat_epochs: int | None,
    batch: str,
    with_embedding: bool,
    unknown: str | None,
    strangers: tuple[str, ...],
    store_images: bool,
    train_anew: bool,
    quick: bool,
    within: Within | None,
    options: ImportOptions,
    data: FetchOptions,
) -> None:
    """Export a model to TFLite and ONNX, and verify each file.

    MODEL is the name of a model, the folder of a checkpoint, or a file made elsewhere: .keras, .h5,
    .tflite, .onnx or the folder of a SavedModel, which is imported first. Without MODEL, the only
    checkpoint in checkpoints/ is exported, or hem-50k. A model without a checkpoint is trained
    first. Files that are up to date are kept. Custom images are needed again, with --data: to
    calibrate, and to verify every file.

    With a budget (--max-drop, --max-kb, --max-ms), remedies for the 8-bit file are tried, the
    cheapest first, until a file fits. Exit code 3 with the nearest when none does.
    """
    if compares:
        console.require_matplotlib()
    if strangers and unknown != "auto":
        raise UsageError("--strangers are for --unknown auto: evaluate reports on others")
    named = target or model or checkpoint or train_anew or quick
    found = _target(target, model, checkpoint, None if named else _usual(data))
    if found.kind != "preset" and train_anew:
        raise UsageError(f"{found.name} is not trained by Hemline: omit --train")
    file = found.path if found.kind == "file" else None
    if found.kind == "file":
        find_schemes(schemes)  # a mistake there costs no import
        found, data = _imported(found, options, data)
    else:
        console.require_custom(data)
        if options != ImportOptions():
            raise UsageError(f"{found.name} is not imported: omit the import options")
    exported = export_model(
        found,
        data=data,
        output=output,
        schemes=schemes,
        post_training=post_training,
        qat_epochs=qat_epochs,
        embedding=with_embedding,
        unknown=unknown,
        strangers=strangers,
        store_images=store_images,
        one_image=batch == "1",
        train_anew=train_anew,
        quick=quick,
        budget=None if within is None else within.budget,
        device="local" if within is None else within.device,
    )
    if within is not None:
        report_search(within, exported)
    bundle, manifest = exported.bundle, exported.manifest
    say(f"{bundle}: {len(manifest.artifacts)} artifacts, all passed in their supported runtimes")
    few = few_images(exported.test_images) if exported.test_images else ()
    for line in (*few, *unknown_among(manifest.labels)):
        say(line)
    if compares:
        _compare_calibrators(exported, data, post_training.seed)
    if schemes:
        _require_made(manifest, find_schemes(schemes))
    if file is not None and data.folder is None:
        next_with_images(file, exported.checkpoint, *console.repeated("output"))
        return
    same = console.repeated("device", "max_ms", "max_kb", "max_drop_points")
    console.next_step("compare", bundle, *same)


@click.command()
@arguments.path_argument("path", "BUNDLE|ARTIFACT")
@arguments.json_option("One JSON document per plan, one per line.")
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
@arguments.path_argument("target", "BUNDLE|FILE")
@arguments.json_option("One JSON document per verdict, one per line.")
@click.option("--labels", help="Of a file made elsewhere: class names a,b,… or a file with them.")
@input_options
@click.option(
    "--output",
    "gives",
    type=click.Choice(["logits", "probabilities"]),
    help="What such a file returns.",
)
@click.option("--images", type=arguments.FILE, help="Images to run too: .npy, uint8 (n, h, w, c).")
@click.option("--expected", type=arguments.FILE, help="Their classes: .npy, integers (n,).")
@click.option(
    "-o", "--out", "output", type=arguments.FILE, help="Stamped copy (default: beside FILE)."
)
@console.runtimes_option
@click.option("--device", metavar="NAME", help="Verify there: browser, tflm, emulated:pi4, a name.")
@click.option("--key", type=arguments.FILE, help="Public key: check the signature, and only that.")
def verify(
    target: Path,
    as_json: bool,
    runtimes: tuple[str, ...],
    device: str | None,
    key: Path | None,
    **foreign: Any,
) -> None:
    """Verify a bundle or a file in every installed runtime.

    Exit code 3 when a file fails in a runtime that it supports. With --runtime, a bundle is also
    verified in versions that were added (`hemline runtimes add`). A file made elsewhere is
    admitted: run in separate processes, then stamped. With --device, the first 100 validation
    images run on another device, in its runtimes. With --key, nothing runs: exit code 3 unless the
    file or folder is what the owner of the key has signed.
    """
    from hemline.export.admission.commands import ForeignOptions, verify_file

    options = ForeignOptions(**foreign)
    if key is not None:
        if runtimes or options.given or device or as_json:
            raise UsageError("--key checks a signature only, and goes with no other option")
        require_signed(target, key)
        click.echo(f"{target}: signed with the private key of {key}, and unchanged since")
        return
    if device is not None:
        if runtimes or options.given:
            raise UsageError("--device needs a verified bundle or file, and no other options")
        _verify_on(device, target, as_json=as_json)
        return
    if runtimes and not target.is_dir():
        raise UsageError(f"{target} is a file: --runtime needs a bundle")
    if not target.is_dir():
        verify_file(target, options, as_json=as_json)
        return
    if options.given:
        raise UsageError(f"{target} is a bundle: these options are for foreign files")
    verified = verify_files(target, runtimes=runtimes)
    of_bundle = [(name, each) for name, each in verified.verdicts if isinstance(each, Verdict)]
    _print_verdicts(of_bundle, as_json)
    if verified.failure is not None:
        raise verified.failure
    console.next_step("compare", target)


def _verify_on(device: str, target: Path, *, as_json: bool) -> None:
    """Check the artifacts of a bundle on devices, and keep the records."""
    from hemline.bench.api import benched
    from hemline.bench.devices.checking import Check, check, nothing, require_passed

    def keep(checked: Check) -> None:
        subject.append(checked.records)
        if as_json:
            click.echo(json.dumps(schema.to_document(checked)))

    with benched(target, device) as (devices, _, (subject,)):
        for each in devices:
            report = nothing if as_json else click.echo
            found = check(subject.bundle, subject.manifest, each, keep=keep, report=report)
            require_passed(found, each)
    console.next_step("bench", target, "--device", device)


def _print_verdicts(verdicts: Sequence[NamedVerdict], as_json: bool) -> None:
    if as_json:
        for name, verdict in verdicts:
            click.echo(json.dumps({"artifact": name, **schema.to_document(verdict)}))
        return
    texts = [as_text(table) for table in verdict_tables(verdicts)]
    tested = [score.images for _, verdict in verdicts if (score := verdict.score("test"))]
    lines = [*reasons(verdicts)]
    if tested:
        lines += [f"accuracy on {max(tested):,} test images", *few_images(max(tested))]
    click.echo("\n\n".join([*texts, *(["\n".join(lines)] if lines else [])]))


def _compare_calibrators(exported: ExportResult, data: FetchOptions, seed: int) -> None:
    from hemline.export.calibration_report import write_comparison
    from hemline.export.quantization.calibrators.comparison import comparison_table

    checkpoint, bundle = exported.checkpoint, exported.bundle
    images = trained_images(read_card(checkpoint), data, checkpoint=checkpoint)
    with files.locked(bundle):
        found = write_comparison(checkpoint, bundle, images, seed=seed, say=say)
    click.echo(as_text(comparison_table(found)))


def _require_made(manifest: Manifest, rows: tuple[Scheme, ...]) -> None:
    """Raise GateError when a scheme that was asked for could not be made."""
    names = {row.file_name for row in rows}
    missing = [each for each in manifest.left_out if each.needed and each.name in names]
    if missing:
        raise GateError("; ".join(f"left out {each.name}: {each.reason}" for each in missing))


def _target(
    target: str | None, model: str | None, checkpoint: Path | None, usual: Path | None
) -> ExportTarget:
    """Return what to export: MODEL, what the options name, or the usual checkpoint."""
    if target is not None:
        if checkpoint is not None or model is not None:
            raise UsageError(f"{target} is already named: omit --model and --checkpoint")
        return find_export_target(target)
    if usual is not None:
        say(f"checkpoint: {usual}")
        checkpoint = usual
    if checkpoint is not None:
        return ExportTarget(kind="checkpoint", name=checkpoint.resolve().name, path=checkpoint)
    return ExportTarget(kind="preset", name=find_model(model or DEFAULT).name)


def _usual(data: FetchOptions) -> Path | None:
    """Return the checkpoint of the default model and these images, or the only one of them.

    None where there is none. Raises UsageError, listing them, for several.
    """
    usual = arguments.CHECKPOINTS / named_after(find_model(DEFAULT), data)
    if is_checkpoint(usual):
        return usual
    found = arguments.checkpoints()
    if data.custom is not None:
        names = (None, name_of(data.custom))  # one that was imported has no images
        cards = [schema.load(Card, each / CARD_NAME) for each in found]
        of = [None if card.training is None else card.training.dataset for card in cards]
        found = [each for each, name in zip(found, of, strict=True) if name in names]
    return only_one(found, "checkpoint that fits", remedy("name or train")) if found else None


def _imported(
    found: ExportTarget, options: ImportOptions, data: FetchOptions
) -> tuple[ExportTarget, FetchOptions]:
    """Import a model; return its checkpoint and how its images are read."""
    if found.path is None:
        raise AssertionError("a model's file has a path")
    imported = import_file(found.path, None, options, data)
    for line in imported.lines:
        say(line)
    target = ExportTarget(kind="checkpoint", name=found.name, path=imported.checkpoint)
    # the labels are the model's; the classes of the images are brought into their order
    return target, replace(data, reading=replace(data.reading, labels=None))

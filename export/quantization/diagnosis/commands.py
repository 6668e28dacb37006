"""`hemline diagnose`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hemline import files
from hemline.arguments import PATH, flag, json_option, output_option, path_argument
from hemline.console import model_data_option, require_custom, require_matplotlib, say
from hemline.contract import schema
from hemline.contract.checkpoint import is_checkpoint
from hemline.contract.manifest import MANIFEST_NAME
from hemline.data.fetch import FetchOptions
from hemline.errors import UsageError, remedy
from hemline.export.importing.commands import ImportOptions, import_file, import_options
from hemline.remedies import REMEDIES

if TYPE_CHECKING:
    from hemline.export.quantization.diagnosis.diagnosing import DiagnosisRequest
    from hemline.export.quantization.diagnosis.document import Diagnosis
    from hemline.export.quantization.diagnosis.evidence import Evidence

DOCUMENT_NAME = "diagnosis.json"


@click.command()
@path_argument("target", "CHECKPOINT|BUNDLE|ARTIFACT")
@click.option(
    "--source",
    "float_model",
    type=PATH,
    help="Float model of the file: checkpoint, .onnx or .tflite (default: fp32.onnx beside it).",
)
@json_option("One JSON document instead of the text.")
@output_option("Folder for the document and pictures.")
@flag("--force", "Replace a diagnosis in the folder.")
@import_options
@model_data_option
def diagnose(
    target: Path,
    float_model: Path | None,
    as_json: bool,
    output: Path | None,
    force: bool,
    options: ImportOptions,
    data: FetchOptions,
) -> None:
    """Show where and why a model loses accuracy in 8 bits.

    Each layer is measured on validation images: quantized alone, and kept in float alone. The
    report ends with what restores the accuracy. A checkpoint is calibrated as for an export; for a
    bundle, or a file in it, the existing plan is used. A file made elsewhere is compared with its
    --source.
    """
    if output is not None:
        require_matplotlib()
        if (output / DOCUMENT_NAME).exists() and not force:
            raise UsageError(f"{output} holds a diagnosis: use --force or another --output")
    found, evidence = _diagnosed(target, float_model, options, data)
    if output is not None:
        with files.locked(output):
            schema.save(output / DOCUMENT_NAME, found)
            _draw(found, evidence, output)
    if as_json:
        click.echo(json.dumps(schema.to_document(found), indent=1, allow_nan=False))
        return
    from hemline.export.quantization.diagnosis.text import as_report

    click.echo(as_report(found, REMEDIES))


def _diagnosed(
    target: Path, source: Path | None, options: ImportOptions, data: FetchOptions
) -> tuple[Diagnosis, Evidence | None]:
    in_bundle = any((each / MANIFEST_NAME).exists() for each in (target, target.parent))
    if not in_bundle and not is_checkpoint(target):
        if source is None:
            raise UsageError(f"{target} is not in a bundle", remedy=remedy("name source"))
        return _compared(target, source, options, data), None
    require_custom(data)
    if options != ImportOptions():
        raise UsageError(f"{target} is not imported: omit the import options")
    if is_checkpoint(target) and source is not None:
        raise UsageError(f"{target} is the float model itself: omit --source")
    from hemline.export.quantization.diagnosis.diagnosing import diagnosis_of, measure
    from hemline.export.quantization.diagnosis.files import FilePair, compare
    from hemline.export.quantization.diagnosis.subject import bundle_subject, checkpoint_request

    found: DiagnosisRequest | FilePair = (
        checkpoint_request(target, data)
        if is_checkpoint(target)
        else bundle_subject(target, data, source)
    )
    if isinstance(found, FilePair):
        return compare(found), None
    evidence = measure(found, say)
    return diagnosis_of(found, evidence), evidence


def _compared(target: Path, source: Path, options: ImportOptions, data: FetchOptions) -> Diagnosis:
    """Compare a file made elsewhere with its float model, which is imported for that."""
    from hemline.export.quantization.diagnosis.files import compare, imported_pair
    from hemline.folders import TemporaryFolder

    if is_checkpoint(source):
        return compare(imported_pair(target, source, None, data, str(source)))
    with TemporaryFolder() as folder:
        imported = import_file(source, Path(folder) / "source", options, data)
        say(replace(imported, checkpoint=source).lines[0])
        own = replace(data, reading=replace(data.reading, labels=None))  # those are the model's
        raw = source if source.suffix == target.suffix else None
        return compare(imported_pair(target, imported.checkpoint, raw, own, str(source)))


def _draw(found: Diagnosis, evidence: Evidence | None, output: Path) -> None:
    from hemline.export.quantization.diagnosis.pictures import draw

    for each in draw(found, evidence, output):
        say(f"{each.path}" if each.path else f"no {each.name}: {each.reason}")

"""What can be inspected: an artifact, that of a bundle which would run here, or a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hemline.contract.card import Card
from hemline.contract.checkpoint import is_checkpoint, read_card
from hemline.contract.manifest import MANIFEST_NAME, Artifact, Manifest, read_manifest
from hemline.contract.schema import to_document
from hemline.contract.stamp import read_stamped
from hemline.errors import HemlineError
from hemline.model_files.contents import Contents
from hemline.model_files.onnx import contents_of, read_onnx
from hemline.model_files.tflite import read_tflite
from hemline.runtime.bundle_choice import pick_artifact
from hemline.runtime.information import artifact_rows, image_rows, unknown_rule
from hemline.silence import silenced
from hemline.small_sets import accuracy_text
from hemline.tables import macs_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """A model and all that is known of it.

    title: of pictures.
    rows: what its stamp or card says, by title.
    document: the same as JSON.
    contents: operators and tensors; None where a package is missing that reads them.
    missing: why contents is None.
    """

    title: str
    rows: dict[str, str]
    document: dict[str, Any]
    contents: Contents | None
    missing: str = ""


def inspect_model(path: Path) -> Inspected:
    """Inspect an artifact, a bundle or a checkpoint.

    Raises FileFormatError for a file that is unstamped, damaged or altered.
    """
    if is_checkpoint(path):
        return _checkpoint(path)
    if not path.is_dir():
        return _artifact(path)
    found = _artifact(pick_artifact(path, None)[0])
    return replace(found, rows=_bundle_rows(read_manifest(path)) | found.rows)


def _bundle_rows(manifest: Manifest) -> dict[str, str]:
    """Return what a bundle holds, and what was left out of it, by title."""
    sizes = (f"{each.name} {each.size_bytes / 1000:.1f} kB" for each in manifest.artifacts)
    rows = {"bundle": ", ".join(sizes)}
    if manifest.left_out:
        rows["left out"] = "; ".join(f"{each.name}: {each.reason}" for each in manifest.left_out)
    return rows


def _artifact(path: Path) -> Inspected:
    file = read_stamped(path)
    stamp = file.stamp
    rows, document = artifact_rows(stamp, path), to_document(stamp)
    if (artifact := _in_bundle(path)) is not None:
        rows |= _made(path, artifact)
        document |= {"artifact": to_document(artifact), "plan": _plan(path, artifact)}
    title = f"{stamp.model}, {path.name}"
    read = read_tflite if stamp.format == "tflite" else read_onnx
    try:
        contents: Contents | None = read(file.model)
        missing = ""
    except HemlineError as error:
        contents, missing = None, str(error)
    return Inspected(title=title, rows=rows, document=document, contents=contents, missing=missing)


def _in_bundle(path: Path) -> Artifact | None:
    """Return what the manifest beside a file says of it; None where there is none of this file."""
    folder = path.resolve().parent
    if not (folder / MANIFEST_NAME).is_file():
        return None
    try:
        manifest: Manifest = read_manifest(folder)
    except HemlineError:  # the file is shown whatever is beside it
        return None
    return next((each for each in manifest.artifacts if each.name == path.name), None)


def _made(path: Path, artifact: Artifact) -> dict[str, str]:
    """Return how an artifact was made and where it passed, by title."""
    from hemline.export.quantization.plan_table import origin_line, read_plans

    rows = {}
    if artifact.compressed_bytes is not None:
        rows["compressed"] = f"{artifact.compressed_bytes / 1000:.1f} kB by deflate"
    if artifact.plan_sha256 is not None:
        plan = read_plans(path.resolve())[artifact.name]
        rows["plan"] = origin_line(artifact.name, plan).partition(": ")[2]
    if artifact.steps:
        steps = (
            f"{each.name} ({each.detail})" if each.detail else each.name for each in artifact.steps
        )
        rows["steps"] = ", ".join(steps)
    if artifact.float_layers:
        rows["in float"] = ", ".join(f"{e.layer} ({e.reason})" for e in artifact.float_layers)
    seen = {verdict.status for verdict in artifact.verdicts}
    for status in sorted(seen):
        found = (v for v in artifact.verdicts if v.status == status)
        rows[status] = ", ".join(f"{v.runtime} {v.version}" for v in found)
    return rows


def _plan(path: Path, artifact: Artifact) -> Any:
    from hemline.export.quantization.plan_table import read_plans

    if artifact.plan_sha256 is None:
        return None
    return to_document(read_plans(path.resolve())[artifact.name])


def _checkpoint(folder: Path) -> Inspected:
    card = read_card(folder)
    try:
        contents: Contents | None = _graph(folder, card)
        missing = ""
    except (ImportError, HemlineError) as error:
        contents, missing = None, str(error)
    return Inspected(
        title=f"{card.model.name}, checkpoint",
        rows=_card_rows(card),
        document=to_document(card),
        contents=contents,
        missing=missing,
    )


def _graph(folder: Path, card: Card) -> Contents:
    """Return the float graph that files are made from."""
    from hemline.export.sources.table import open_source

    with silenced(), open_source(card.model.source, folder / card.model.file) as source:
        return contents_of(source.graph)


def _card_rows(card: Card) -> dict[str, str]:
    model = card.model
    height, width, channels = model.shape
    rows = {
        "name": f"{model.name} ({model.source}), {model.parameters:,} parameters, "
        f"{macs_text(model.macs)}",
        "input": f"{height} × {width} × {channels}",
        "labels": ", ".join(model.labels),
        **image_rows(model.preprocessing, unknown_rule(model.unknown_threshold), model.temperature),
        "model hash": f"{model.sha256} (checked)",
        "made": f"{model.created} on {model.host}",
    }
    if card.training is not None:
        for score in card.training.scores:
            share = accuracy_text(score.correct, score.images)
            rows[score.split] = f"{share} of {score.images:,} images"
    return rows

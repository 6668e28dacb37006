"""`hemline classify` and `hemline inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hemline.errors import HemlineError
from hemline.silence import silenced


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--runtime", help="litert, tflite-runtime or onnxruntime (default: the first here).")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="To use.")
@click.option("--top", default=3, show_default=True, type=click.IntRange(1), help="Classes shown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def classify(
    artifact: Path,
    images: tuple[Path, ...],
    runtime: str | None,
    threads: int,
    top: int,
    as_json: bool,
) -> None:
    """Classify image files with an artifact: label, score and the best classes of each."""
    from hemline.runtime.classifier import Classifier

    failed: list[HemlineError] = []
    with silenced():
        opened = Classifier.load(artifact, threads=threads, runtime=runtime)
    with opened as classifier:
        for image in images:
            try:
                prediction = classifier.classify(image)
            except HemlineError as error:
                failed.append(error)
                click.echo(f"error: {error}", err=True)
                continue
            click.echo(_answer(image, prediction, top, as_json))
    if failed:
        raise click.exceptions.Exit(failed[0].exit_code)


def _answer(image: Path, prediction: Any, top: int, as_json: bool) -> str:
    best = prediction.top(top)
    if as_json:
        return json.dumps(
            {
                "image": str(image),
                "label": prediction.label,
                "index": prediction.index,
                "score": round(prediction.score, 6),
                "top": [{"label": label, "score": round(score, 6)} for label, score in best],
            }
        )
    others = ", ".join(f"{label} {100 * score:.1f} %" for label, score in best)
    return (
        f"{image}: {prediction.label} {100 * prediction.score:.1f} %  (top {len(best)}: {others})"
    )


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The whole stamp as JSON.")
def inspect(artifact: Path, as_json: bool) -> None:
    """Show what an artifact says of itself, after its hash was checked."""
    from hemline.schema import to_document
    from hemline.stamp import read_stamped

    stamp = read_stamped(artifact).stamp
    if as_json:
        click.echo(json.dumps(to_document(stamp), indent=1))
        return
    spec = stamp.input
    rows = {
        "name": f"{stamp.name} ({artifact.stat().st_size / 1000:.1f} kB), model {stamp.model}",
        "input": f"{spec.dtype} {' × '.join(map(str, spec.shape))}, scale {spec.scale:g}, "
        f"zero point {spec.zero_point}",
        "output": f"{stamp.output.dtype} logits of {stamp.output.classes} classes",
        "labels": ", ".join(stamp.labels),
        "claims": ", ".join(f"{claim.runtime} >= {claim.minimum}" for claim in stamp.claims),
        "unknown under": f"{stamp.unknown_threshold:.3f} (temperature {stamp.temperature:g})",
        "checkpoint": stamp.parent_sha256,
        "model hash": f"{stamp.payload_sha256} (checked)",
    }
    for title, text in rows.items():
        click.echo(f"{title:<14} {text}")

"""`hemline drift`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hemline.arguments import FOLDER, PATH, json_option, output_option
from hemline.console import require_matplotlib, require_package, say
from hemline.tables import as_text


@click.command()
@click.argument("folder", type=PATH)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Merge hours until a period has so many images.",
)
@click.option("--last", type=click.IntRange(1), help="Judge the last so many periods only.")
@output_option("Folder of the pictures (default: FOLDER).", FOLDER)
@json_option()
def drift(folder: Path, images: int, last: int | None, output: Path | None, as_json: bool) -> None:
    """Compare predictions in use with those on validation images.

    FOLDER is that of `hemline classify --monitor`. The exit code is 3 if a period differs, and 4 if
    there are too few images to judge.
    """
    require_matplotlib()
    require_package("scipy", "thresholds need scipy: pip install scipy")
    from hemline.bench.drift.judging import judged_folders, require_no_drift
    from hemline.bench.drift.picture import draw_drift
    from hemline.bench.drift.table import documents_of, drift_table

    found = judged_folders(folder, least=images, last=last)
    for each in found:
        if as_json:
            for document in documents_of(each):
                click.echo(json.dumps(document, ensure_ascii=False))
        elif each.periods:
            click.echo(f"{each.artifact.name} ({each.artifact.sha256[:8]}): value / threshold")
            click.echo(as_text(drift_table(each.periods)))
        if each.periods and (output or not as_json):
            picture = (output or folder) / f"drift-{each.folder.name}.png"
            draw_drift(each, picture)
            say(f"picture: {picture}")
    require_no_drift(found)

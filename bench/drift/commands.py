"""`hemline drift`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hemline.arguments import PATH, json_option
from hemline.console import require_matplotlib, require_package, say

_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("folder", type=PATH)
@click.option(
    "--images", type=_COUNT, default=500, help="Images of all periods but the last, at least (500)."
)
@click.option("--last", type=_COUNT, help="Judge the last so many periods only.")
@json_option("JSON lines instead of a table and a picture.")
def drift(folder: Path, images: int, last: int | None, as_json: bool) -> None:
    """Compare predictions in use with those on validation images.

    FOLDER is that of --monitor, of `hemline classify` or `hemline serve`. A period is an hour, or
    several until they have enough images. The exit code is 3 if one differs, and 4 if there are too
    few images to judge.
    """
    if not as_json:
        require_matplotlib()
    require_package("scipy", "thresholds need scipy: pip install scipy")
    from hemline.bench.drift.judging import (
        Period,
        document,
        judged,
        monitored_folders,
        require_no_drift,
    )
    from hemline.bench.drift.picture import draw_drift, drift_text

    every, lost = list[Period](), list[Path]()
    for each in monitored_folders(folder):
        found = judged(each, images, last, lost)
        if found is None or not found.periods:
            continue
        every += found.periods
        if as_json:
            for period in found.periods:
                click.echo(json.dumps(document(found, period), ensure_ascii=False))
        else:
            click.echo(drift_text(found.periods, images))
            draw_drift(found, picture := folder / f"drift-{each.name}.png")
            say(f"picture: {picture}")
    require_no_drift(every, lost)

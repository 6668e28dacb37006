"""`hemline drift`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hemline.arguments import PATH, json_option
from hemline.console import require_matplotlib, require_package, say

_LEAST = "Least images of a period (500), 30 or more; the last one may have fewer."


@click.command()
@click.argument("folder", type=PATH)
@click.option("--images", type=click.IntRange(min=30), default=500, help=_LEAST)
@click.option("--last", type=click.IntRange(min=1), help="Judge the last so many periods only.")
@json_option("JSON lines instead of a table and a picture.")
def drift(folder: Path, images: int, last: int | None, as_json: bool) -> None:
    """Compare predictions in use with those on validation images.

    FOLDER is that of --monitor, of `hemline classify` or `hemline serve`. A period is an hour, or
    several until they have enough images. The exit code is 3 if one differs, and 4 if there are too
    few images to judge, or counts are lost.
    """
    if not as_json:
        require_matplotlib()
    require_package("scipy", "thresholds need scipy: pip install scipy")
    from hemline.bench.drift.judging import Period, judged, monitored_folders, require_no_drift
    from hemline.bench.drift.picture import draw_drift, drift_text
    from hemline.errors import FileFormatError

    every, lost = list[Period](), False
    for each in monitored_folders(folder):
        try:
            found = judged(each, images, last)
        except FileFormatError as error:
            say(f"warning: counts are lost, unless that file is monitored there again: {error}")
            lost = True
            continue
        every += found.periods
        lost |= found.lost > 0
        if not found.periods:
            say(f"{each.name}: no readable counts")
        elif as_json:
            for period in found.periods:
                click.echo(json.dumps(found.document(period), ensure_ascii=False))
        else:
            click.echo(drift_text(found, images))
            draw_drift(found, picture := folder / f"drift-{each.name}.png")
            say(f"picture: {picture}")
    require_no_drift(every, lost)

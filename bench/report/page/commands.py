"""`hemline report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hemline.arguments import FILE, flag, output_option
from hemline.bench.api import measured
from hemline.bench.commands import bundles_argument, devices_option
from hemline.console import budget_options, require_package, say
from hemline.contract.budget import Budget
from hemline.errors import UsageError


@click.command()
@bundles_argument
@devices_option("Whose measurements to show", default=None)
@output_option("File to write.", FILE, default="report.html")
@flag("--force", "Replace the file.")
@budget_options(0.5)
def report(
    paths: tuple[Path, ...],
    devices: tuple[str, ...],
    output: Path,
    force: bool,
    **limits: Any,
) -> None:
    """Write everything measured to one HTML page.

    The page says which file to ship (on this machine, or on each device that is named), why, and
    how it was measured. It needs no network and opens from a disk, on a phone too.
    """
    require_package("bokeh", "a report needs Bokeh: pip install bokeh")
    from hemline.bench.report.page.report import write_report

    if output.exists() and not force:
        raise UsageError(f"{output} exists: use --force or another --output")
    write_report(output, measured(paths), Budget(**limits), devices)
    say(f"report: {output} ({output.stat().st_size / 1000:,.0f} kB)")

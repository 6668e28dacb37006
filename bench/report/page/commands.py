"""`hemline report`."""

from __future__ import annotations

from pathlib import Path

import click

from hemline.bench.commands import bundles_argument, measured
from hemline.console import budget_options, require_package, say
from hemline.contract.budget import Budget
from hemline.errors import UsageError


@click.command()
@bundles_argument
@click.option(
    "-o",
    "--output",
    default="report.html",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.",
)
@click.option("--force", is_flag=True, help="Replace the file.")
@budget_options(0.5)
def report(paths: tuple[Path, ...], output: Path, force: bool, **limits: float | None) -> None:
    """Write one HTML page of all that was measured: what to ship, why, and how it was measured.

    The page needs no network and opens from a disk, on a phone too.
    """
    require_package("bokeh", "a report needs Bokeh: pip install bokeh")
    from hemline.bench.report.page.report import write_report

    if output.exists() and not force:
        raise UsageError(f"{output} exists: use --force or another --output")
    write_report(output, measured(paths), Budget(**limits))
    say(f"report: {output} ({output.stat().st_size / 1e6:.1f} MB)")

"""`hemline history`."""

from __future__ import annotations

from pathlib import Path

import click

from hemline.arguments import FILE, output_option, path_argument
from hemline.bench.commands import devices_option
from hemline.bench.gate.commands import select_option
from hemline.console import require_matplotlib, require_package, say
from hemline.contract.record import RECORDS_NAME, read_records
from hemline.errors import UsageError
from hemline.exporting import Export, export_options
from hemline.tables import as_text


@click.command()
@path_argument("paths", "BUNDLE|RECORDS…")
@select_option
@devices_option("Whose latencies to show", default=None)
@output_option("Picture to write (default: history.png beside the first records).", FILE)
@export_options
def history(
    paths: tuple[Path, ...],
    patterns: tuple[str, ...],
    devices: tuple[str, ...],
    output: Path | None,
    export: Export,
) -> None:
    """Show latencies over time and where they changed."""
    from hemline.bench.gate.side import selects
    from hemline.bench.history.plot import draw_history
    from hemline.bench.history.series import history_table, runs_table, series_of

    require_matplotlib()
    require_package("scipy", "intervals need scipy: pip install scipy")
    files = [path / RECORDS_NAME if path.is_dir() else path for path in paths]
    records = (record for file in files for record in read_records(file))
    asked = (r for r in records if selects(patterns, r.cell.artifact, r.cell.runtime))
    found = series_of(r for r in asked if not devices or r.cell.device in devices)
    if not found:
        what = f" on {', '.join(devices)}" if devices else ""
        raise UsageError(f"{', '.join(map(str, paths))}: no matching latency was measured{what}")
    export(history_table(found), runs=runs_table(found))
    picture = output or files[0].with_name("history.png")
    draw_history(found, picture)
    click.echo(as_text(history_table(found)))
    say(f"picture: {picture}")

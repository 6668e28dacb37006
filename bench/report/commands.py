"""`hemline table`, `compare` and `choose`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hemline import files
from hemline.arguments import flag, json_option
from hemline.bench.api import bench as run_bench
from hemline.bench.api import choose as choose_file
from hemline.bench.api import measured
from hemline.bench.commands import bundles_argument, devices_option, sample_options
from hemline.console import budget_options, next_step, repeated, require_matplotlib, say
from hemline.contract import schema
from hemline.contract.budget import USUAL_DROP_POINTS
from hemline.contract.specs import LOCAL
from hemline.exporting import Export, export_options
from hemline.tables import Table, as_text

if TYPE_CHECKING:
    from hemline.bench.choosing import Choice
    from hemline.bench.comparison import Comparison, Row
    from hemline.bench.measuring.subject import Subject
    from hemline.export.admission.user_samples import SampleFiles

_DETAILS = flag("--details", "Also print the spread of the times and the parts of a cold start.")
_CHANGES = flag("--changes", "Also print the change of each class, and the images that changed.")


@click.command()
@bundles_argument
@devices_option("Whose measurements to show")
@_DETAILS
@json_option()
@export_options
def table(
    paths: tuple[Path, ...], devices: tuple[str, ...], details: bool, as_json: bool, export: Export
) -> None:
    """Print size, accuracy and latency of each artifact.

    The figures are those of the last `hemline bench` or `hemline compare`. Several devices have a
    column each.
    """
    from hemline.bench.comparison import joined
    from hemline.bench.records import compared
    from hemline.bench.report.json_lines import json_lines
    from hemline.bench.report.table import table_of, table_text

    subjects = measured(paths)
    comparisons = [compared(subjects, device, every_version=True) for device in devices]
    shown, more = table_of(subjects, comparisons), _more(joined(comparisons), details)
    export(shown, **more)
    if as_json:
        click.echo("\n".join(json_lines(joined(comparisons))))
        return
    click.echo(table_text(subjects, comparisons))
    _print_more(joined(comparisons), more)
    next_step("choose", *paths, *repeated("devices"))


@click.command()
@bundles_argument
@flag("--quick", "A few rounds only.")
@devices_option("Where to measure")
@_DETAILS
@_CHANGES
@json_option()
@export_options
@sample_options
@budget_options(USUAL_DROP_POINTS)
def compare(
    paths: tuple[Path, ...],
    quick: bool,
    devices: tuple[str, ...],
    details: bool,
    changes: bool,
    as_json: bool,
    export: Export,
    samples: SampleFiles | None,
    **limits: Any,
) -> None:
    """Measure all artifacts and compare accuracy with latency.

    Prints a table and which file to ship, and writes a picture and JSON lines into the bundle. All
    bundles and files that are named are in one comparison.
    """
    from hemline.bench.comparison import joined
    from hemline.bench.measuring.plan import FULL, QUICK
    from hemline.bench.report.json_lines import json_lines
    from hemline.bench.report.plot import draw
    from hemline.bench.report.table import comparison_table, conditions_line, legend, refusals

    require_matplotlib()
    plan = QUICK if quick else FULL
    done = run_bench(paths, devices=devices, plan=plan, keep_counts=True, samples=samples)
    for error in done.failures:
        raise error
    chosen = choose_file(paths, devices=devices, **limits)
    choices, every, subjects = chosen.choices, joined(chosen.comparisons), measured(paths)
    lines, output = json_lines(every), _output(subjects)
    rows, picture = Path(f"{output}.jsonl"), Path(f"{output}.png")
    files.write_bytes(rows, "".join(f"{line}\n" for line in lines).encode())
    draw(every, picture, chosen=[each.row for each in choices])
    more = _more(every, details) | _changed(choices[0].row, changes)
    export(comparison_table(every, None), **more)
    if as_json:
        click.echo("\n".join(lines))
        return
    for comparison, choice in zip(chosen.comparisons, choices, strict=True):
        table = comparison_table(comparison, choice.row)
        click.echo(as_text(table))
        notes = (*legend(table), conditions_line(comparison))
        click.echo("\n".join((*notes, "", *choice.reasons, "")))
    click.echo("".join(f"{line}\n" for line in refusals(subjects)), nl=False)
    _print_more(every, more)
    say(f"picture: {picture}, rows: {rows}")
    _say_stored(choices)


@click.command()
@bundles_argument
@json_option("One JSON document instead of sentences.")
@devices_option("Whose measurements decide")
@click.option(
    "--scheme",
    "schemes",
    multiple=True,
    help="Only fp32, fp16, dynamic, int8, int16x8, int8-mixed, int8-qat, int8-w4, int4-weights; "
    "or as int8.onnx; repeatable.",
)
@_CHANGES
@export_options
@budget_options(USUAL_DROP_POINTS)
def choose(
    paths: tuple[Path, ...],
    as_json: bool,
    devices: tuple[str, ...],
    schemes: tuple[str, ...],
    changes: bool,
    export: Export,
    **limits: Any,
) -> None:
    """Choose the artifact to ship within a budget.

    Exit code 3 when none fits. The choice for each device is written into the bundle of the chosen
    file: `hemline pack` uses it.
    """
    from hemline.bench.comparison import joined
    from hemline.bench.report.table import comparison_table

    chosen = choose_file(paths, devices=devices, schemes=schemes, **limits)
    choices, every = chosen.choices, joined(chosen.comparisons)
    more = _changed(choices[0].row, changes)
    export(comparison_table(every, None), **more)
    if as_json:
        click.echo("\n".join(map(_choice_document, choices)))
        return
    click.echo("\n\n".join("\n".join(choice.reasons) for choice in choices))
    _print_more(every, more)
    _say_stored(choices)


def _say_stored(choices: Sequence[Choice]) -> None:
    for choice in choices:
        device = choice.candidate.device
        where = "this machine" if device == LOCAL else device
        say(f"stored in {choice.file.parent}: {choice.file.name} is the choice for {where}")
    bundle, device = choices[0].file.parent, choices[0].candidate.device
    if device.startswith("browser"):
        next_step("pack", bundle, "--for", "web", "--device", device)
    else:
        next_step("classify", choices[0].file, "IMAGE")


def _choice_document(choice: Choice) -> str:
    document = schema.to_document(choice.candidate) | {"model": choice.row.model.name}
    if (drop := choice.candidate.drop_points) is not None:
        document["drop_points"] = round(drop, 4)
    return json.dumps({**document, "reasons": choice.reasons})


def _more(comparison: Comparison, details: bool) -> dict[str, Table]:
    from hemline.bench.report.details import spread_table, start_table

    if not details:
        return {}
    return {"spread": spread_table(comparison), "start": start_table(comparison)}


def _changed(row: Row, changes: bool) -> dict[str, Table]:
    from hemline.bench.accuracy.change import change_of
    from hemline.bench.report.changes import class_table, flip_table

    if not changes or (change := change_of(row)) is None:
        return {}
    return {"classes": class_table(change), "flips": flip_table(change, row.model)}


def _print_more(comparison: Comparison, tables: dict[str, Table]) -> None:
    """Print what is known of the machine, then tables that were asked for."""
    from hemline.bench.report.details import outlier_lines, warning_lines

    lines = warning_lines(comparison)
    for table in tables.values():
        lines += ["", as_text(table)]
    if "spread" in tables:
        lines += ["", *outlier_lines(comparison)]
    click.echo("\n".join(lines), nl=bool(lines))


def _output(subjects: Sequence[Subject]) -> Path:
    """Return where rows and picture go, without a suffix: into the first bundle."""
    first, *others = (subject.bundle for subject in subjects)
    return first / "-".join(("compare", *(["with"] if others else []), *(b.name for b in others)))

"""`hemline bench`, and how commands are given bundles and single files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hemline.arguments import PATH, flag, joined, json_option, path_argument
from hemline.bench.api import bench as run_bench
from hemline.bench.api import benched, measured
from hemline.console import next_step, require_matplotlib, runtimes_option, say
from hemline.contract.record import LOCAL, RECORDS_NAME, Record
from hemline.contract.settings import Settings
from hemline.errors import GateError, HemlineError, UsageError
from hemline.exporting import Export, export_options
from hemline.remedies import described
from hemline.tables import as_text

if TYPE_CHECKING:
    from hemline.bench.devices.device import Device
    from hemline.bench.measuring.fleet import DeviceResult
    from hemline.bench.measuring.plan import MeasurementPlan
    from hemline.bench.measuring.subject import Subject
    from hemline.export.admission.user_samples import SampleFiles

_MOST_COLUMNS = 8  # devices in a table that still fits on a screen
_MOST = 256  # threads or images: more only exhausts the machine

F = TypeVar("F", bound=Callable[..., Any])


bundles_argument = path_argument("paths", "BUNDLE|FILE…")


def devices_option(text: str, default: str | None = LOCAL) -> Callable[[F], F]:
    """Return --device as `devices`, a tuple of names; empty without a default."""

    def names(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
        from hemline.bench.devices.addresses import device_names

        return () if text is None else device_names(text)

    return click.option(
        "--device",
        "devices",
        default=default,
        show_default=bool(default) or "all that were measured",
        metavar="NAME[,NAME…]",
        callback=names,
        help=f"{text}: local, gpu, tflm, browser, emulated:pi4, ssh:user@board, a name; a,b; "
        "@FILE: all boards of a file.",
    )


def _samples(**given: Path | None) -> SampleFiles | None:
    from hemline.export.admission.user_samples import SampleFiles

    return SampleFiles(**given) if any(given.values()) else None


# the images of a single file, as `samples: SampleFiles | None`
sample_options = joined(
    "samples",
    _samples,
    click.option("--data", type=PATH, help="Images of a FILE: folders, .npz, shards or a bundle."),
    click.option("--images", type=PATH, help="Images of a FILE: .npy, uint8."),
    click.option("--expected", type=PATH, help="Classes of --images: .npy, integers."),
)


@click.command()
@bundles_argument
@flag("--quick", "Few rounds; nothing if nothing changed.")
@click.option("--threads", default="1", show_default=True, help="Numbers of threads, as in 1,2.")
@click.option("--batch", default="1", show_default=True, help="Images per call, as in 1,8.")
@click.option("--cores", help="Pin to these cores, counted from 0, as in 2,3.")
@click.option(
    "--sustained", type=click.FloatRange(1), help="Then run the fastest cell for so many seconds."
)
@click.option("--rounds", type=click.IntRange(1), help="Rounds; each measures every cell once.")
@devices_option("Where to measure")
@flag("--fallback", "Let the processor run what a GPU cannot.")
@runtimes_option
@flag("--resume", "Measure only the cells that are missing.")
@flag("--tune", "Instead, find faster settings and store them.")
@flag("--profile", "Instead, explain the time of each cell.", "profiled")
@json_option("Of --profile: JSON lines, not tables.")
@export_options
@sample_options
def bench(
    paths: tuple[Path, ...],
    quick: bool,
    threads: str,
    batch: str,
    cores: str | None,
    sustained: float | None,
    rounds: int | None,
    devices: tuple[str, ...],
    fallback: bool,
    runtimes: tuple[str, ...],
    resume: bool,
    tune: bool,
    profiled: bool,
    as_json: bool,
    export: Export,
    samples: SampleFiles | None,
) -> None:
    """Measure latency and memory in interleaved rounds.

    A single FILE is measured the same way, in a bundle of its own beside it; together with a
    BUNDLE, on the images of that bundle. All cells of all bundles and files take turns.

    Several devices are measured in parallel. If one fails, only its own cells are missing, and
    --resume measures them. --profile times the operators of each cell instead, and explains what
    ran them and why the cell takes its time.
    """
    if as_json and not profiled:
        raise UsageError("--json goes with --profile")
    from hemline.bench.measuring.plan import FULL, QUICK

    plan = replace(QUICK if quick else FULL, threads=_numbers(threads), batches=_numbers(batch))
    plan = plan if rounds is None else replace(plan, rounds=rounds)
    if cores is not None:
        plan = replace(plan, settings=(Settings(cores=_numbers(cores, least=0)),))
    if profiled or tune:
        with benched(paths, devices, runtimes, samples, fallback=fallback) as (
            here,
            failed,
            found,
        ):
            if profiled:
                _profile(here, found, plan, as_json=as_json)
            if tune:
                _tune(here, found, plan)
            _print_errors(failed)
        return
    if sustained:
        require_matplotlib()
    done = run_bench(
        paths,
        devices=devices,
        quick=quick,
        plan=plan,
        runtimes=runtimes,
        sustained_seconds=sustained or 0.0,
        fallback=fallback,
        resume=resume,
        samples=samples,
        report=click.echo,
    )
    _print_fleet(done.results)
    _print_table(paths, [e.device for e in done.results if e.is_measured], export)
    _print_errors(done.results)


def _profile(
    devices: Sequence[Device], subjects: Sequence[Subject], plan: MeasurementPlan, *, as_json: bool
) -> None:
    """Profile the cells of a plan, print each as it comes, and draw all of them."""
    from hemline.bench.profiling.cells import profile_cells
    from hemline.bench.profiling.text import profile_text
    from hemline.contract.schema import to_document

    records: list[Record] = []

    def report(record: Record) -> None:
        records.append(record)
        click.echo(json.dumps(to_document(record)) if as_json else f"{profile_text(record)}\n")

    try:
        profile_cells(devices, subjects, plan, report=report, progress=say)
    finally:
        _draw(records, subjects[0].bundle)
    tunable = {r.cell.runtime: None for r in records if _is_tunable(r)}
    if tunable:
        runtimes = (word for name in tunable for word in ("--runtime", name))
        next_step("bench", *(each.bundle for each in subjects), "--tune", *runtimes)


def _is_tunable(profiled: Record) -> bool:
    """Return whether a setting that tuning tries was timed on this machine, and was faster."""
    from hemline.bench.tuning.options import OPTIONS
    from hemline.contract.profile import Profile

    if profiled.cell.device != LOCAL or not isinstance(profiled.payload, Profile):
        return False
    names = {each.settings.text for each in OPTIONS}
    return any(
        each.name in names and each.changed and each.ratio < 1
        for each in profiled.payload.interventions
    )


def _draw(profiles: Sequence[Record], folder: Path) -> None:
    """Draw profiles, where that is possible: they are kept in any case."""
    from hemline.bench.profiling.picture import draw_profiles

    if find_spec("matplotlib") is None:
        return
    try:
        for path in draw_profiles(profiles, folder):
            say(f"picture: {path}")
    except HemlineError as error:
        say(f"no picture: {error}")


def _tune(devices: Sequence[Device], subjects: Sequence[Subject], plan: MeasurementPlan) -> None:
    from hemline.bench.tuning.table import trials_table
    from hemline.bench.tuning.tuning import tune, winners

    for device in devices:
        trials = tune(device, subjects, plan, say=say)
        click.echo(as_text(trials_table(trials)))
        for best in winners(trials)[:1]:
            artifact = best.cell.subject.bundle / best.cell.artifact.name
            next_step("classify", artifact, "IMAGE", "--tuned")


def _print_fleet(results: Sequence[DeviceResult]) -> None:
    """Print what each of several devices did."""
    from hemline.bench.measuring.fleet import FLEET_COLUMNS
    from hemline.tables import Table

    if len(results) > 1:
        click.echo(as_text(Table.of(FLEET_COLUMNS, (each.row for each in results))) + "\n")


def _print_table(paths: Sequence[Path], devices: Sequence[str], export: Export) -> None:
    """Print what was measured, as `hemline table` does, and name the next command."""
    from hemline.bench.comparison import joined
    from hemline.bench.records import compared
    from hemline.bench.report.details import warning_lines
    from hemline.bench.report.table import table_of, table_text

    if not devices:
        return
    subjects = measured(paths)
    comparisons = [compared(subjects, name, every_version=True) for name in devices]
    export(table_of(subjects, comparisons))
    if len(devices) <= _MOST_COLUMNS:
        lines = (table_text(subjects, comparisons), *warning_lines(joined(comparisons)))
        click.echo("\n".join(lines))
    say(f"records: {', '.join(str(subject.bundle / RECORDS_NAME) for subject in subjects)}")
    shown = devices if len(devices) <= _MOST_COLUMNS else devices[:1]
    there = () if devices == [LOCAL] else ("--device", ",".join(shown))
    next_step("choose", *paths, *there)


def _print_errors(results: Sequence[DeviceResult]) -> None:
    """Print what failed on each of several devices, and exit with its code."""
    errors = [result.error for result in results if result.error is not None]
    if errors and len(results) == 1:
        raise errors[0]
    for result in results:
        if result.error is not None:
            click.echo(f"error: {result.device}: {described(result.error)}", err=True)
    if errors:
        gates = [error for error in errors if isinstance(error, GateError)]
        raise click.exceptions.Exit((gates or errors)[0].exit_code)


def _numbers(text: str, least: int = 1) -> tuple[int, ...]:
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{text!r} is not a list of numbers: write it as 1,2,4") from error
    if not least <= min(values) <= max(values) <= _MOST:
        raise UsageError(f"{text!r}: numbers are from {least} to {_MOST}")
    return values

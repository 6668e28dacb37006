"""`hemline bench`, `table`, `compare` and `choose`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hemline import files
from hemline.console import quiet, require_matplotlib, say
from hemline.contract import schema
from hemline.contract.budget import Budget
from hemline.contract.manifest import MANIFEST_NAME, Manifest, read_manifest, require_artifacts
from hemline.contract.record import RECORDS_NAME, Cell, Latency, Record, merge_into, read_records
from hemline.contract.stamp import read_stamped
from hemline.errors import GateError, UsageError
from hemline.tables import as_text

if TYPE_CHECKING:
    from hemline.bench.devices import Device
    from hemline.bench.measuring.fleet import Outcome
    from hemline.bench.measuring.rounds import Plan

PICTURE_NAME = "compare.png"
TABLE_NAME = "compare.jsonl"
_MOST = 256  # threads or images: more only exhausts the machine

_BUNDLE = click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON lines instead of a table.")


def budget_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the fields of Budget."""
    for option in (
        click.option("--max-ms", type=float, help="Largest median latency."),
        click.option("--max-kb", type=float, help="Largest file, 1000 bytes."),
        click.option(
            "--max-drop-points",
            type=float,
            default=0.5,
            show_default=True,
            help="Largest loss of validation accuracy.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@_BUNDLE
@click.option("--quick", is_flag=True, help="A few rounds; skipped when nothing changed.")
@click.option("--threads", default="1", show_default=True, help="Values to try, as in 1,2.")
@click.option("--batch", default="1", show_default=True, help="Values to try, as in 1,8.")
@click.option("--rounds", type=click.IntRange(1), help="Times that each cell has its turn.")
@click.option(
    "--device", default="local", show_default=True, help="Where to run; several as in local,pi4."
)
@click.option("--fallback", is_flag=True, help="Let the processor run what a GPU cannot.")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    help="litert==1.4.0, installed (the default), all; repeat for more.",
)
@click.option("--resume", is_flag=True, help="Measure only the cells that are missing.")
def bench(
    bundle: Path,
    quick: bool,
    threads: str,
    batch: str,
    rounds: int | None,
    device: str,
    fallback: bool,
    runtimes: tuple[str, ...],
    resume: bool,
) -> None:
    """Measure latency and memory of a bundle's artifacts, in interleaved rounds.

    Several devices work at the same time, those on this machine in turn; each fails on its own
    account, and --resume completes what is missing.
    """
    from hemline.bench.measuring.fleet import bench_fleet, open_fleet
    from hemline.bench.measuring.one_device import Work
    from hemline.bench.measuring.rounds import FULL, QUICK

    plan = replace(QUICK if quick else FULL, threads=_numbers(threads), batches=_numbers(batch))
    plan = plan if rounds is None else replace(plan, rounds=rounds)
    devices, unopened = open_fleet(device, fallback=fallback)
    if runtimes:
        devices, plan = _in_runtimes(runtimes, devices, plan)
    try:
        with files.locked(bundle):
            manifest = _manifest(bundle)
            local = [each.name for each in devices] == ["local"]
            if quick and local and _measured(bundle, manifest, "local", plan):
                say("bench: nothing changed since the last one")
                return
            work = Work(plan=plan, resume=resume)
            ended = bench_fleet(devices, bundle, manifest, work, say=_progress(), tell=click.echo)
            outcomes = (*ended, *unopened)
            _report_fleet(outcomes)
            if local:
                say(f"records: {bundle / RECORDS_NAME}; hemline table {bundle} shows them")
    finally:
        for each in devices:
            each.close()


@click.command()
@_BUNDLE
@_JSON
def table(bundle: Path, as_json: bool) -> None:
    """Print one row for each artifact: size, accuracy, agreement, latency per runtime."""
    from hemline.bench.comparison import compare as join
    from hemline.bench.report.table import bundle_table, conditions_line, refusals

    manifest = _manifest(bundle)
    comparison = join(_records(bundle, manifest), every_version=True)
    if as_json:
        click.echo("\n".join(_as_json_lines(comparison)))
        return
    click.echo(as_text(bundle_table(comparison)))
    click.echo(conditions_line(comparison))
    for refusal in refusals(manifest):
        click.echo(refusal)


@click.command()
@_BUNDLE
@click.option("--quick", is_flag=True, help="A few rounds only.")
@_JSON
@budget_options
def compare(bundle: Path, quick: bool, as_json: bool, **limits: float | None) -> None:
    """Measure, then show accuracy against latency: table, JSON lines, picture and verdict."""
    from hemline.bench.comparison import compare as join
    from hemline.bench.devices import open_device
    from hemline.bench.measuring.rounds import FULL, QUICK, measure
    from hemline.bench.report.plot import draw
    from hemline.bench.report.table import comparison_table, conditions_line, refusals
    from hemline.contract.evaluation_set import load_split

    require_matplotlib()
    with files.locked(bundle):
        manifest = _manifest(bundle)
        plan = QUICK if quick else FULL
        measure(
            bundle,
            manifest,
            open_device("local"),
            plan,
            keep=lambda records: merge_into(bundle / RECORDS_NAME, records),
            say=say,
        )
        comparison = join(_records(bundle, manifest))
        chosen, reasons = _choose(bundle, manifest, comparison, Budget(**limits))
        lines = _as_json_lines(comparison)
        files.write_bytes(bundle / TABLE_NAME, "".join(f"{line}\n" for line in lines).encode())
        labels = load_split(bundle, "test", manifest.evaluation_sha256).labels
        best = (chosen.artifact, chosen.runtime)
        draw(comparison, bundle / PICTURE_NAME, labels=labels, chosen=best)
    if as_json:
        click.echo("\n".join(lines))
        return
    marked = f"{chosen.artifact} {chosen.runtime}"
    click.echo(as_text(comparison_table(comparison, marked)))
    click.echo(conditions_line(comparison))
    click.echo("\n".join((*refusals(manifest), "", *reasons)))
    say(f"picture: {bundle / PICTURE_NAME}, rows: {bundle / TABLE_NAME}")


@click.command()
@_BUNDLE
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of sentences.")
@budget_options
def choose(bundle: Path, as_json: bool, **limits: float | None) -> None:
    """Choose the artifact to ship within a budget; exit code 3 when none fits."""
    from hemline.bench.comparison import compare as join

    with files.locked(bundle):
        manifest = _manifest(bundle)
        comparison = join(_records(bundle, manifest))
        chosen, reasons = _choose(bundle, manifest, comparison, Budget(**limits))
    if as_json:
        document = {**schema.to_document(chosen), "drop_points": round(chosen.drop_points, 4)}
        click.echo(json.dumps({**document, "reasons": reasons}))
        return
    click.echo("\n".join(reasons))


def _choose(bundle: Path, manifest: Manifest, comparison: Any, budget: Budget) -> Any:
    """Choose, write the choice into the manifest, and return it with its reasons."""
    from hemline.bench.report.verdict import explain, recommend
    from hemline.contract.evaluation_set import load_split

    right = _right(manifest)  # records may be older than a verdict that found their artifact wrong
    rows = (r for r in comparison.rows if _identity(r.cell) in right and _supported(bundle, r.cell))
    comparison = replace(comparison, rows=tuple(rows))
    if all(row.latency is None for row in comparison.rows):
        raise UsageError(f"no latency was measured: run `hemline bench {bundle}` first")
    chosen = recommend(comparison, budget)
    labels = load_split(bundle, "test", manifest.evaluation_sha256).labels
    reasons = explain(comparison, budget, chosen, labels)
    updated = replace(
        manifest, recommended=chosen.artifact, recommended_because=" ".join(reasons[:2])
    )
    schema.save(bundle / MANIFEST_NAME, updated)
    return chosen, reasons


def _in_runtimes(
    names: tuple[str, ...], devices: Sequence[Device], plan: Plan
) -> tuple[list[Device], Plan]:
    """Return this machine as the device, and the plan, for the runtimes that were asked for."""
    from hemline.bench.devices.local import LocalDevice
    from hemline.runtime.targets import find_targets

    for device in devices:
        if not isinstance(device, LocalDevice):
            raise UsageError(
                f"{device.name} has runtimes of its own: --runtime is for --device local"
            )
    targets = find_targets(names)
    pairs = tuple((target.runtime, target.version) for target in targets)
    return [LocalDevice("", targets)], replace(plan, runtimes=pairs)


def _progress() -> Callable[[str], None]:
    """Return what prints progress from any thread: click knows only its own who asked for quiet."""
    silent = quiet()

    def progress(line: str) -> None:
        if not silent:
            click.echo(line, err=True)

    return progress


def _report_fleet(outcomes: Sequence[Outcome]) -> None:
    """Print a row for each of several devices and what went wrong; raise when anything did."""
    from hemline.bench.report.fleet_table import fleet_table

    errors = [outcome for outcome in outcomes if outcome.error is not None]
    if len(outcomes) == 1:
        if errors and errors[0].error is not None:
            raise errors[0].error
        return
    click.echo(as_text(fleet_table(outcomes)))
    for outcome in errors:
        click.echo(f"error: {outcome.device}: {outcome.error}", err=True)
    if errors:
        gates = [outcome for outcome in errors if isinstance(outcome.error, GateError)]
        raise click.exceptions.Exit((gates or errors)[0].exit_code)


def _manifest(bundle: Path) -> Manifest:
    manifest = read_manifest(bundle)
    require_artifacts(bundle, manifest)
    return manifest


def _records(bundle: Path, manifest: Manifest) -> list[Record]:
    """Return the records of the artifacts as they are now; older ones are out of date."""
    current = {artifact.sha256 for artifact in manifest.artifacts} | {manifest.parent_sha256}
    path = bundle / RECORDS_NAME
    if not path.exists():
        raise UsageError(f"{bundle} has no records: run `hemline verify {bundle}` first")
    return [record for record in read_records(path) if record.cell.artifact_sha256 in current]


def _measured(bundle: Path, manifest: Manifest, device: str, plan: Plan) -> bool:
    """Tell whether every cell of a plan has a latency on this device, in its runtime's version."""
    from hemline.bench.measuring.rounds import cells_of, key_of
    from hemline.host import host_facts

    here = host_facts().processor  # a bundle that was moved here is measured anew
    have = {
        key_of(r.cell)
        for r in _records(bundle, manifest)
        if isinstance(r.payload, Latency)
        and r.cell.device == device
        and r.conditions.host.processor == here
    }
    return set(cells_of(manifest, plan)) <= have


def _right(manifest: Manifest) -> set[tuple[str, str, str]]:
    """Return the identities of artifacts in the runtimes that they were verified to be right in."""
    return {
        (artifact.sha256, verdict.runtime, verdict.version)
        for artifact in manifest.artifacts
        for verdict in artifact.verdicts
        if artifact.status_in(verdict.runtime, verdict.version) == "passed"
    }


def _supported(bundle: Path, cell: Cell) -> bool:
    """Tell whether the artifact may be opened in the runtime that it was measured in."""
    stamp = read_stamped(bundle / cell.artifact).stamp
    return stamp.supports(cell.runtime, cell.runtime_version)


def _identity(cell: Cell) -> tuple[str, str, str]:
    return (cell.artifact_sha256, cell.runtime, cell.runtime_version)


def _as_json_lines(comparison: Any) -> list[str]:
    """Return a JSON document for the Keras model and one for each row, derived figures included."""
    from hemline.bench.comparison import KERAS, drop_points

    keras = comparison.keras_test
    reference = {
        "model": comparison.model,
        "artifact": KERAS,
        "runtime": KERAS,
        "test_images": keras.images,
        "test_correct": keras.correct,
    }
    lines = [json.dumps(reference)]
    for row in comparison.rows:
        figures = {} if row.latency is None else schema.to_document(row.latency)
        document = {
            **schema.to_document(row.cell),
            "test_images": row.test.images,
            "test_correct": row.test.correct,
            "test_agreement": row.test.agreement,
            "test_drop_points": round(drop_points(row.test), 4),
            "validation_drop_points": round(drop_points(row.validation), 4),
            "peak_memory_bytes": row.memory.peak_bytes if row.memory else None,
            "delegate": row.delegate,
            **figures,
        }
        lines.append(json.dumps(document))
    return lines


def _numbers(text: str) -> tuple[int, ...]:
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{text!r} is no list of numbers: write it as 1,2,4") from error
    if not 1 <= min(values) <= max(values) <= _MOST:
        raise UsageError(f"{text!r}: numbers are from 1 to {_MOST}")
    return values

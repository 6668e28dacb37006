"""`hemline bench`, `table`, `compare` and `choose`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from hemline import files
from hemline.console import budget_options, quiet, require_matplotlib, runtimes_option, say
from hemline.contract import schema
from hemline.contract.budget import Budget
from hemline.contract.evaluation_set import has_labels
from hemline.contract.manifest import Manifest, read_manifest, require_artifacts
from hemline.contract.record import RECORDS_NAME
from hemline.errors import GateError, UsageError
from hemline.remedies import described
from hemline.tables import as_text

if TYPE_CHECKING:
    from hemline.bench.measuring.fleet import DeviceResult
    from hemline.environments.environment import RuntimeTarget
    from hemline.export.admission.user_samples import SampleFiles

PICTURE_NAME = "compare.png"
TABLE_NAME = "compare.jsonl"
_MOST = 256  # threads or images: more only exhausts the machine

F = TypeVar("F", bound=Callable[..., Any])


def _only_one(_: click.Context, __: click.Parameter, paths: tuple[Path, ...]) -> Path:
    if len(paths) > 1:
        raise UsageError(f"{len(paths)} bundles or files are named: give one at a time")
    return paths[0]


_BUNDLE = click.argument(
    "bundle",
    nargs=-1,
    required=True,
    callback=_only_one,
    metavar="BUNDLE|FILE",
    type=click.Path(path_type=Path, exists=True),
)
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON lines instead of a table.")
_PATH = click.Path(path_type=Path, exists=True)


def sample_options(command: F) -> F:
    """Add the options of a single file's images, as `samples: SampleFiles | None`."""

    @wraps(command)
    def with_samples(
        *arguments: Any,
        data: Path | None,
        images: Path | None,
        expected: Path | None,
        **others: Any,
    ) -> Any:
        from hemline.export.admission.user_samples import SampleFiles

        named = any(path is not None for path in (data, images, expected))
        samples = SampleFiles(data=data, images=images, expected=expected) if named else None
        return command(*arguments, samples=samples, **others)

    click.option("--expected", type=_PATH, help="Of a FILE: .npy of their classes.")(with_samples)
    click.option("--images", type=_PATH, help="Of a FILE: .npy of uint8 images.")(with_samples)
    click.option(
        "--data", type=_PATH, help="Of a FILE: labelled images, class folders or an .npz."
    )(with_samples)
    return cast("F", with_samples)


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
@runtimes_option
@click.option("--resume", is_flag=True, help="Measure only the cells that are missing.")
@sample_options
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
    samples: SampleFiles | None,
) -> None:
    """Measure latency and memory of a bundle's artifacts, in interleaved rounds.

    A single FILE, exported or admitted, is measured the same way, in a bundle of its own beside it.
    Several devices work at the same time, those on this machine in turn. A device that fails costs
    its own cells only; --resume measures what is missing.
    """
    from hemline.bench.measuring.device_bench import BenchRequest
    from hemline.bench.measuring.fleet import bench_fleet, open_fleet
    from hemline.bench.measuring.plan import FULL, QUICK
    from hemline.bench.measuring.subject import Subject
    from hemline.bench.records import is_measured
    from hemline.runtime.targets import find_targets

    plan = replace(QUICK if quick else FULL, threads=_numbers(threads), batches=_numbers(batch))
    plan = plan if rounds is None else replace(plan, rounds=rounds)
    targets = find_targets(runtimes) if runtimes else ()
    devices, unopened = open_fleet(device, fallback=fallback, targets=targets)
    try:
        path, bundle = bundle, _folder(bundle)
        with files.locked(bundle):
            subject = Subject(bundle=bundle, manifest=_updated(path, samples, targets))
            local = [each.name for each in devices] == ["local"]
            if quick and local and is_measured(subject, devices[0], plan):
                say("bench: nothing changed since the last one")
                return
            request = BenchRequest(plan=plan, resume=resume)
            ended = bench_fleet(
                devices, [subject], request, progress=_progress(), report=click.echo
            )
            _report_fleet((*ended, *unopened))
            if local:
                say(f"records: {bundle / RECORDS_NAME}; hemline table {path} shows them")
    finally:
        for each in devices:
            each.close()


@click.command()
@_BUNDLE
@_JSON
def table(bundle: Path, as_json: bool) -> None:
    """Print one row for each artifact: size, accuracy, agreement, latency per runtime."""
    from hemline.bench.records import compared
    from hemline.bench.report.json_lines import json_lines
    from hemline.bench.report.table import bundle_table, conditions_line, refusals

    manifest, bundle = _manifest(bundle), _folder(bundle)
    comparison = compared(bundle, manifest, every_version=True)
    if as_json:
        click.echo("\n".join(json_lines(comparison)))
        return
    click.echo(as_text(bundle_table(comparison, _compressed(manifest))))
    click.echo("\n".join((conditions_line(comparison), *refusals(manifest))))


@click.command()
@_BUNDLE
@click.option("--quick", is_flag=True, help="A few rounds only.")
@_JSON
@sample_options
@budget_options(0.5)
def compare(
    bundle: Path, quick: bool, as_json: bool, samples: SampleFiles | None, **limits: float | None
) -> None:
    """Measure, then show accuracy against latency: table, JSON lines, picture and verdict."""
    from hemline.bench.choosing import choose_in
    from hemline.bench.devices.local import LocalDevice
    from hemline.bench.measuring.plan import FULL, QUICK
    from hemline.bench.measuring.rounds import measure
    from hemline.bench.measuring.subject import Subject
    from hemline.bench.records import compared
    from hemline.bench.report.json_lines import json_lines
    from hemline.bench.report.plot import draw
    from hemline.bench.report.table import comparison_table, conditions_line, refusals
    from hemline.contract.evaluation_set import load_split

    require_matplotlib()
    path, bundle = bundle, _folder(bundle)
    with files.locked(bundle):
        manifest = _updated(path, samples)
        subject, plan = Subject(bundle=bundle, manifest=manifest), QUICK if quick else FULL
        measure([subject], LocalDevice(), plan, progress=say)
        comparison = compared(bundle, manifest)
        choice = choose_in(bundle, manifest, comparison, Budget(**limits))
        chosen = (choice.candidate.artifact, choice.candidate.runtime)
        lines = json_lines(comparison)
        files.write_bytes(bundle / TABLE_NAME, "".join(f"{line}\n" for line in lines).encode())
        labels = load_split(bundle, "test", manifest.evaluation_sha256).labels
        draw(comparison, bundle / PICTURE_NAME, labels=labels, chosen=chosen)
    if as_json:
        click.echo("\n".join(lines))
        return
    click.echo(as_text(comparison_table(comparison, chosen)))
    notes = (conditions_line(comparison), *refusals(manifest), "", *choice.reasons)
    click.echo("\n".join(notes))
    say(f"picture: {bundle / PICTURE_NAME}, rows: {bundle / TABLE_NAME}")


@click.command()
@_BUNDLE
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of sentences.")
@budget_options(0.5)
def choose(bundle: Path, as_json: bool, **limits: float | None) -> None:
    """Choose the artifact to ship within a budget; exit code 3 when none fits."""
    from hemline.bench.choosing import choose_in
    from hemline.bench.records import compared

    path, bundle = bundle, _folder(bundle)
    with files.locked(bundle):
        manifest = _manifest(path)
        choice = choose_in(bundle, manifest, compared(bundle, manifest), Budget(**limits))
    if as_json:
        document = schema.to_document(choice.candidate)
        if (drop := choice.candidate.drop_points) is not None:
            document["drop_points"] = round(drop, 4)
        click.echo(json.dumps({**document, "reasons": choice.reasons}))
        return
    click.echo("\n".join(choice.reasons))


def _progress() -> Callable[[str], None]:
    """Return what prints progress from any thread: click knows --quiet in its own thread only."""
    silent = quiet()

    def progress(line: str) -> None:
        if not silent:
            click.echo(line, err=True)

    return progress


def _report_fleet(results: Sequence[DeviceResult]) -> None:
    """Print a row for each of several devices and what failed; exit with its code."""
    from hemline.bench.report.fleet_table import fleet_table

    errors = [result.error for result in results if result.error is not None]
    if len(results) == 1:
        if errors:
            raise errors[0]
        return
    click.echo(as_text(fleet_table(results)))
    for result in results:
        if result.error is not None:
            click.echo(f"error: {result.device}: {described(result.error)}", err=True)
    if errors:
        gates = [error for error in errors if isinstance(error, GateError)]
        raise click.exceptions.Exit((gates or errors)[0].exit_code)


def _compressed(manifest: Manifest) -> dict[str, int]:
    """Return the size of each artifact by deflate, where it is known."""
    sizes = {each.name: each.compressed_bytes for each in manifest.artifacts}
    return {name: size for name, size in sizes.items() if size is not None}


def _folder(path: Path) -> Path:
    """Return the folder of a bundle; of a single file, that of its bundle."""
    if path.is_dir():
        return path
    from hemline.export.admission.file_bundle import folder_of

    return folder_of(path)


def _manifest(path: Path) -> Manifest:
    """Return the manifest of a bundle, or that of a single file which was measured before."""
    if not path.is_dir():
        from hemline.export.admission.file_bundle import read_file_bundle

        return read_file_bundle(path)
    manifest = read_manifest(path)
    require_artifacts(path, manifest)
    return manifest


def _updated(
    path: Path, samples: SampleFiles | None, targets: Sequence[RuntimeTarget] = ()
) -> Manifest:
    """Return the manifest of a bundle; that of a single file is made, or gets the images named."""
    if path.is_dir():
        if samples is not None:
            raise UsageError(
                f"{path} is a bundle, which has its images: --data, --images and --expected are "
                "for a file"
            )
        return _manifest(path)
    from hemline.export.admission.file_bundle import update_file_bundle

    manifest = update_file_bundle(path, samples, targets or None, say=say)
    if not has_labels(manifest.evaluation_sha256):
        say(f"no accuracy: the {manifest.dataset} have no labels; name labelled images with --data")
    return manifest


def _numbers(text: str) -> tuple[int, ...]:
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{text!r} is not a list of numbers: write it as 1,2,4") from error
    if not 1 <= min(values) <= max(values) <= _MOST:
        raise UsageError(f"{text!r}: numbers are from 1 to {_MOST}")
    return values

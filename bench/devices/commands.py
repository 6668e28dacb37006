"""`hemline device`: name boards, check any device, and install files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hemline.arguments import FILE, flag, json_option
from hemline.command_group import CommandGroup
from hemline.console import next_step
from hemline.contract.job import HostFacts
from hemline.contract.schema import to_document
from hemline.errors import UsageError
from hemline.progress import say
from hemline.remedies import described
from hemline.signing.commands import require_signed
from hemline.tables import Table, as_text

if TYPE_CHECKING:
    from hemline.bench.devices.delivery import Delivered
    from hemline.bench.devices.inspection import Inspection, RuntimeFit

_FILE = click.option(
    "--file",
    type=FILE,
    help="Another file than devices.toml in the configuration folder.",
)
_JSON = json_option("JSON instead of text.")


@click.group(cls=CommandGroup)
def device() -> None:
    """Add and check boards, and install files on them."""


@device.command()
@click.argument("name")
@click.argument("address")
@click.option("--folder", default="", help="For our files there (default: ~/.cache/hemline).")
@click.option("--python", default="python3", show_default=True, help="Command for Python there.")
@_FILE
def add(name: str, address: str, folder: str, python: str, file: Path | None) -> None:
    """Check a board at ssh:user@host[:port], then keep it under NAME for --device."""
    from hemline.bench.devices.addresses import open_entry
    from hemline.bench.devices.registry import Entry, add_entry, registry_path, require_free

    path = file or registry_path()
    entry = Entry(name=name, address=address, folder=folder, python=python)
    require_free(path, entry)
    with open_entry(entry) as board:
        click.echo(_as_text(name, address, board.inspect()))
    add_entry(path, entry)
    click.echo(f"{name} is in {path}")
    next_step("bench", "--device", name)


@device.command(name="list")
@_JSON
@_FILE
def list_(as_json: bool, file: Path | None) -> None:
    """List the boards that have a name, without asking them, and the other devices.

    With --json, the boards only.
    """
    from hemline.bench.devices.registry import read_registry, registry_path
    from hemline.bench.devices.table import known_addresses

    path = file or registry_path()
    entries = read_registry(path).values()
    if as_json:
        click.echo(json.dumps([to_document(entry) for entry in entries]))
        return
    boards = []
    for entry in entries:
        rest = [entry.folder, "" if entry.python == "python3" else entry.python]
        boards.append((entry.name, "  ".join([entry.address, *filter(None, rest)])))
    click.echo(as_text(Table.of(("device", "what it is"), (*boards, *known_addresses().items()))))
    if not entries:
        click.echo(f"no boards in {path}: add one with `hemline device add`")


@device.command()
@click.argument("name")
@_JSON
@_FILE
def check(name: str, as_json: bool, file: Path | None) -> None:
    """Reach a device (as for bench --device), and print what it is and what can run there."""
    from hemline.bench.devices.addresses import address_of, open_device

    address = address_of(name, file)
    with open_device(name, registry=file) as opened:
        inspection = opened.inspect()
    if as_json:
        click.echo(json.dumps(_document(name, address, inspection)))
        return
    click.echo(_as_text(name, address, inspection))
    next_step("bench", "--device", name)


@device.command()
@click.argument("name")
@_FILE
def remove(name: str, file: Path | None) -> None:
    """Forget a board's name; its files stay as they are."""
    from hemline.bench.devices.registry import registry_path, remove_entry

    path = file or registry_path()
    remove_entry(path, name)
    click.echo(f"{name} is no longer in {path}")


def _names(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    from hemline.bench.devices.addresses import device_names

    return device_names(",".join(given)) if given else ()


_BOARDS = click.option(
    "--device",
    "names",
    required=True,
    multiple=True,
    callback=_names,
    metavar="NAME[,NAME…]",
    help="Boards: a name or ssh:user@board; repeat it, or a,b; @FILE: all boards of a file.",
)
_PLACE = click.option(
    "--to", "place", required=True, metavar="PATH", help="File there, from its home folder."
)
_AFTER = click.option(
    "--after", default="", metavar="COMMAND", help="Shell command to run there then: a restart."
)
_LINES = json_option("One JSON document per board, one per line.")


@device.command()
@click.argument(
    "artifact", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@_BOARDS
@_PLACE
@click.option(
    "--canary",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Boards that get it first, one by one; the rest only when it is correct there. 0: all at "
    "once.",
)
@_AFTER
@click.option("--key", type=FILE, help="Public key: install only what its owner signed.")
@flag("--force", "Replace a file of other labels or another image size, too.")
@_LINES
@_FILE
def push(
    artifact: Path, names: tuple[str, ...], place: str, canary: int, as_json: bool, **given: Any
) -> None:
    """Install a file of a bundle on boards, on one of them first.

    Each board first runs 500 validation images. Where the predictions are correct, the file
    replaces the one there, which is kept. Exit code 3 where they are not.
    """
    from hemline.bench.devices.delivery import installed
    from hemline.contract.manifest import read_manifest, require_artifacts

    if Path(place).suffix != artifact.suffix:
        raise UsageError(f"{place!r} does not end in {artifact.suffix}, as {artifact} does")
    if given["key"] is not None:
        require_signed(artifact, given["key"])
    bundle, manifest = artifact.parent, read_manifest(artifact.parent)
    own = replace(manifest, artifacts=(manifest.artifact(artifact.name),))
    require_artifacts(bundle, own)
    use = {"place": place, "after": given["after"], "force": given["force"]}
    work = partial(installed, bundle=bundle, manifest=own, **use)
    done = _deliver(names, given["file"], work, canary, as_json=as_json)
    changed = [e.device for e in done if e.installed and e.installed.replaced]
    if changed and any(each.error for each in done):
        next_step("device", "rollback", "--device", ",".join(changed), "--to", place)
    _fail(done)


@device.command()
@_BOARDS
@_PLACE
@_AFTER
@_LINES
@_FILE
def rollback(
    names: tuple[str, ...], place: str, after: str, as_json: bool, file: Path | None
) -> None:
    """Put back the file that the last push replaced; once more undoes it."""
    from hemline.bench.devices.delivery import rolled_back

    work = partial(rolled_back, place=place, after=after)
    _fail(_deliver(names, file, work, 0, as_json=as_json))


def _deliver(
    names: Sequence[str],
    file: Path | None,
    work: Callable[..., Delivered],
    canaries: int,
    *,
    as_json: bool,
) -> tuple[Delivered, ...]:
    from hemline.bench.devices.delivery import deliver, open_board

    with ExitStack() as stack:
        boards = [stack.enter_context(open_board(name, file)) for name in names]
        done = deliver(boards, work, canaries=canaries, say=say)
    if as_json:
        for each in done:
            reason = None if each.error is None else str(each.error)
            click.echo(json.dumps({**to_document(replace(each, error=None)), "error": reason}))
    else:
        columns = ("device", "status", "?runtime", "?>accuracy", "?file", "?previous file")
        click.echo(as_text(Table.of(columns, (each.row for each in done))))
    return done


def _fail(done: Sequence[Delivered]) -> None:
    """Print why boards failed, if any, and exit with 3 where a file was not correct, else 1."""
    errors = [each.error for each in done if each.error is not None]
    for error in errors:
        click.echo(f"error: {described(error)}", err=True)
    if errors:
        raise click.exceptions.Exit(max(error.exit_code for error in errors))


def _as_text(name: str, address: str, inspection: Inspection) -> str:
    host = inspection.host
    rows = [(name, "" if name == address else address), *_host_rows(host), *inspection.rows]
    rows += [(f"{fit.runtime} {fit.version}", _fit(fit)) for fit in inspection.runtimes]
    width = max(len(what) for what, _ in rows)
    return "\n".join(f"{what:<{width}}  {text}".rstrip() for what, text in rows)


def _fit(fit: RuntimeFit) -> str:
    if fit.reason is not None:
        return f"does not fit: {fit.reason}"
    return f"fits, ran on {fit.delegate}" if fit.delegate else "fits"


def _host_rows(host: HostFacts | None) -> list[tuple[str, str]]:
    if host is None:
        return []
    memory = "" if host.memory_bytes is None else f", {host.memory_bytes / 1e9:.1f} GB"
    return [
        ("host", f"{host.processor}, {host.machine}, {host.cores} cores{memory}"),
        ("system", host.system),
        ("state", _state(host)),
    ]


def _state(host: HostFacts) -> str:
    frequency, heat = host.frequency_khz, host.temperature_millicelsius
    throttled = {None: None, True: "was throttled since its start", False: "not throttled"}
    parts = [
        host.governor and f"governor {host.governor}",
        frequency and f"{frequency / 1000:.0f} MHz",
        heat and f"{heat / 1000:.1f} °C",
        throttled[host.throttled],
    ]
    return ", ".join(part for part in parts if part) or "not reported by the system"


def _document(name: str, address: str, inspection: Inspection) -> dict[str, Any]:
    host = inspection.host
    return {
        "name": name,
        "address": address,
        **inspection.facts,
        "host": None if host is None else to_document(host),
        "runtimes": [
            {**to_document(fit), "fits": fit.reason is None} for fit in inspection.runtimes
        ],
    }

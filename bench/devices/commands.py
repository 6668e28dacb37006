"""`hemline device`: give boards names, and look at them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hemline.contract.job import HostFacts
from hemline.contract.schema import to_document

if TYPE_CHECKING:
    from hemline.bench.devices.ssh.device import SshDevice
    from hemline.bench.devices.ssh.survey import Survey

_FILE = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another file than devices.toml in the configuration folder.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """What a check found; runtimes are (name, version, reason why not or None)."""

    name: str
    address: str
    survey: Survey
    host: HostFacts
    runtimes: tuple[tuple[str, str, str | None], ...]


@click.group()
def device() -> None:
    """Give boards names, list and check them."""


@device.command()
@click.argument("name")
@click.argument("address")
@click.option("--folder", default="", help="For our files there (default: ~/.cache/hemline).")
@click.option("--python", default="python3", show_default=True, help="Command for Python there.")
@_FILE
def add(name: str, address: str, folder: str, python: str, file: Path | None) -> None:
    """Check a board at ssh:user@host[:port], then keep it under NAME for --device."""
    from hemline.bench.devices.registry import Entry, add_entry, registry_path, require_free
    from hemline.bench.devices.ssh.device import open_entry

    path = file or registry_path()
    entry = Entry(name=name, address=address, folder=folder, python=python)
    require_free(path, entry)
    click.echo(_as_text(_check(open_entry(entry), entry.address)))
    add_entry(path, entry)
    click.echo(f"{name} is in {path}")


@device.command(name="list")
@_JSON
@_FILE
def list_(as_json: bool, file: Path | None) -> None:
    """List the boards that have a name; asks none of them."""
    from hemline.bench.devices.registry import read_registry, registry_path

    path = file or registry_path()
    entries = read_registry(path).values()
    if as_json:
        click.echo(json.dumps([to_document(entry) for entry in entries]))
        return
    for entry in entries:
        rest = [entry.folder, "" if entry.python == "python3" else entry.python]
        click.echo("  ".join([f"{entry.name:<12} {entry.address}", *filter(None, rest)]))
    if not entries:
        click.echo(f"no devices in {path}: add one with `hemline device add`")


@device.command()
@click.argument("name")
@_JSON
@_FILE
def check(name: str, as_json: bool, file: Path | None) -> None:
    """Reach a board (a name, or ssh:user@host), and tell what it is and what can run there."""
    from hemline.bench.devices.registry import KIND, find_entry, registry_path
    from hemline.bench.devices.ssh.device import open_entry, open_ssh

    if name.startswith(KIND):
        finding = _check(open_ssh(name.removeprefix(KIND)), name)
    else:
        entry = find_entry(name, file or registry_path())
        finding = _check(open_entry(entry), entry.address)
    click.echo(json.dumps(_document(finding)) if as_json else _as_text(finding))


@device.command()
@click.argument("name")
@_FILE
def remove(name: str, file: Path | None) -> None:
    """Forget a board's name; its files stay as they are."""
    from hemline.bench.devices.registry import registry_path, remove_entry

    path = file or registry_path()
    remove_entry(path, name)
    click.echo(f"{name} is no longer in {path}")


def _check(board: SshDevice, address: str) -> _Finding:
    import contextlib

    with contextlib.closing(board):
        survey = board.survey()
        return _Finding(
            name=board.name,
            address=address,
            survey=survey,
            host=board.facts(),
            runtimes=board.fitting(),
        )


def _as_text(finding: _Finding) -> str:
    survey, host = finding.survey, finding.host
    memory = "" if host.memory_bytes is None else f", {host.memory_bytes / 1e9:.1f} GB"
    numpy = f"numpy {survey.numpy}" if survey.numpy else "no numpy"
    rows = [
        (finding.name, finding.address),
        (
            "board",
            f"{host.processor}, {survey.platform or survey.machine}, {host.cores} cores{memory}",
        ),
        ("system", f"{host.system}, {survey.libc or 'no glibc'}"),
        ("python", f"{survey.python} with {numpy}"),
        ("state", _state(host)),
        ("free", f"{survey.free_bytes / 1e9:.1f} GB in {survey.folder}{_writable(survey)}"),
    ]
    rows += [
        (f"{runtime} {version}", "fits" if reason is None else f"does not fit: {reason}")
        for runtime, version, reason in finding.runtimes
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _state(host: HostFacts) -> str:
    frequency, heat = host.frequency_khz, host.temperature_millicelsius
    throttled = {None: None, True: "was throttled since its start", False: "not throttled"}
    parts = [
        host.governor and f"governor {host.governor}",
        frequency and f"{frequency / 1000:.0f} MHz",
        heat and f"{heat / 1000:.1f} °C",
        throttled[host.throttled],
    ]
    return ", ".join(part for part in parts if part) or "the system tells nothing"


def _writable(survey: Survey) -> str:
    return "" if survey.writable else ", which is not writable: choose another one with --folder"


def _document(finding: _Finding) -> dict[str, Any]:
    survey = to_document(finding.survey)
    files = survey.pop("files")
    return {
        "name": finding.name,
        "address": finding.address,
        **survey,
        "platform": finding.survey.platform,
        "store_bytes": sum(files.values()),
        "host": to_document(finding.host),
        "runtimes": [
            {"runtime": runtime, "version": version, "fits": reason is None, "reason": reason}
            for runtime, version, reason in finding.runtimes
        ],
    }

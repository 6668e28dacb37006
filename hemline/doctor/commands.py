"""`hemline doctor`: the facts for a bug report, in one paste."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from hemline.arguments import json_option
from hemline.doctor.report import AddedFolder, Report
from hemline.errors import HemlineError


@click.command()
@json_option("One JSON document.")
def doctor(as_json: bool) -> None:
    """Show versions, processor and caches for a bug report."""
    from hemline.contract.schema import to_document
    from hemline.doctor.report import make_report

    report = make_report(_devices())
    if as_json:
        click.echo(json.dumps(to_document(report), indent=1))
        return
    width = max(len(title) for title, _ in _rows(report))
    for title, text in _rows(report):
        click.echo(f"{title:<{width}}  {text}")


def _devices() -> tuple[str, ...]:
    """Return the names of the configured devices, without their addresses."""
    from hemline.bench.devices.registry import read_registry, registry_path

    try:
        return tuple(read_registry(registry_path()))
    except HemlineError as error:
        return (str(error),)


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    """Yield a title and a text for each line."""
    commit = "not a checkout" if report.commit is None else f"commit {report.commit}"
    yield "hemline", f"{report.hemline}, {commit}, {report.folder}"
    yield "python", f"{report.python}, {report.executable}"
    host = report.host
    yield "system", f"{host.system}, {host.machine}"
    yield "processor", f"{host.processor}, {host.cores} cores"
    if report.features:
        have = [name for name, present in report.features.items() if present]
        lack = [name for name, present in report.features.items() if not present]
        yield "features", f"{', '.join(have) or 'none'}; without {', '.join(lack) or 'none'}"
    if host.memory_bytes is not None:
        free = report.free_memory_bytes
        yield "memory", _size(host.memory_bytes) + (f", {_size(free)} free" if free else "")
    known = [f"{name} {version}" for name, version in report.libraries.items() if version]
    yield "libraries", ", ".join(known)
    if missing := [name for name, version in report.libraries.items() if not version]:
        yield "not installed", ", ".join(missing)
    for state in report.runtimes:
        works = "works" if state.fault is None else f"does not work: {state.fault}"
        yield state.name, f"{state.version}, {works}" if state.version else "not installed"
    yield "environments", _added(report.environments)
    yield "wheel sets", _added(report.wheel_sets)
    yield "devices", ", ".join(report.devices) or "none"
    sizes = [f"{name} {_size(size)}" for name, size in report.cache_bytes.items()]
    yield "cache", ", ".join([report.cache or "none: this user has no home folder", *sizes])


def _added(folders: tuple[AddedFolder, ...]) -> str:
    texts = [f"{each.name} ({each.fault or _size(each.size_bytes)})" for each in folders]
    return ", ".join(texts) or "none"


def _size(size_bytes: int) -> str:
    """Return a size in the unit that leaves a figure before the point."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"

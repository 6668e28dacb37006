"""Open the device at an address: local, emulated:pi4, ssh:pi@board, or a name of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hemline.bench.devices.device import Device
from hemline.bench.devices.emulation.raspberry_pis import raspberry_pi
from hemline.bench.devices.registry import Entry, read_registry, registry_path
from hemline.bench.devices.table import DEVICES, known_addresses
from hemline.errors import UnknownNameError, UsageError, remedy
from hemline.runtime.backends import attribute


class FleetName(str):
    """The name of a board in a file that the user named, which is its `registry`."""

    registry: Path


def device_names(devices: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names in a list such as "local,pi4"; @FILE in it stands for all boards of a file.

    The file is written as devices.toml. Raises UsageError for a name that is there twice, or a file
    without boards, FileFormatError for one that is damaged.
    """
    given = [s.strip() for s in devices.split(",")] if isinstance(devices, str) else devices
    names: list[str] = []
    for name in given:
        names += _fleet(Path(name[1:])) if name.startswith("@") else [name]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{str(twice)!r} is named twice among the devices")
    return tuple(names)


def _fleet(path: Path) -> list[FleetName]:
    names = [FleetName(name) for name in read_registry(path)]
    if not names:
        what = "names no boards" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}", remedy=remedy("name a fleet", file=path))
    for name in names:
        name.registry = path
    return names


def open_device(address: str, *, registry: Path | None = None, **options: Any) -> Device:
    """Return the device at an address: a kind, a kind and more behind a colon, or a name in
    `registry`, by default the user's.

    `options` are those of the kind's row (fallback, targets). Raises UnknownNameError with the
    nearest name, UsageError for an option that the kind does not have, HemlineError when the device
    cannot be used.
    """
    if address.partition(":")[0] in DEVICES:
        return _open(address, address, options)
    return open_entry(_named(address, registry), **options)


def open_entry(entry: Entry, **options: Any) -> Device:
    """Return a board that has a name; `options` as for open_device."""
    settings = {"name": entry.name, "folder": entry.folder, "python": entry.python}
    return _open(entry.address, entry.name, {**options, **settings})


def address_of(name: str, registry: Path | None = None) -> str:
    """Return the address of a device; raises UnknownNameError with the nearest name."""
    if name.partition(":")[0] == "emulated":
        raspberry_pi(name.partition(":")[2])
    return name if name.partition(":")[0] in DEVICES else _named(name, registry).address


def _named(name: str, registry: Path | None) -> Entry:
    entries = read_registry(getattr(name, "registry", registry) or registry_path())
    if name not in entries:
        advice = remedy("name a board", device=name)
        raise UnknownNameError("device", name, (*known_addresses(), *entries), remedy=advice)
    return entries[name]


def _open(address: str, name: str, options: dict[str, Any]) -> Device:
    kind, _, rest = address.partition(":")
    row = DEVICES[kind]
    if options.get("fallback") and not row.falls_back:
        raise UsageError(f"{name} has no fallback", remedy=remedy("device with fallback"))
    if options.get("targets") and not row.takes_targets:
        raise UsageError(f"{name} has runtimes of its own", remedy=remedy("device with runtimes"))
    given = {option: value for option, value in options.items() if value}
    device: Device = attribute(row.open)(rest, **given)
    return device

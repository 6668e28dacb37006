"""`hemline runtimes`: environments for other versions of the runtimes, and wheels for devices."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hemline.arguments import json_option
from hemline.command_group import CommandGroup
from hemline.console import next_step, say
from hemline.contract import schema
from hemline.environments.environment import (
    Environment,
    Requirement,
    add_environment,
    environments,
    fault,
    find_environments,
    find_interpreter,
    minor_of,
)
from hemline.environments.wheels import (
    MACHINES,
    WheelRequest,
    WheelSet,
    find_wheel_sets,
    wheel_set,
    wheel_sets,
)
from hemline.errors import UsageError
from hemline.folders import remove as remove_folder
from hemline.tables import Table, as_text

_PLATFORM = click.option(
    "--platform", type=click.Choice(list(MACHINES)), help="Wheels for a device instead."
)


@click.group(cls=CommandGroup)
def runtimes() -> None:
    """Add, list and remove other versions of the runtimes."""


@runtimes.command()
@click.argument("names", nargs=-1, required=True, metavar="RUNTIME[==VERSION]...")
@click.option("--python", help="Version (3.12) or path of the Python (default: this one).")
@_PLATFORM
def add(names: tuple[str, ...], python: str | None, platform: str | None) -> None:
    """Create an environment for each runtime (default: its newest version)."""
    for requirement in [_requirement(name, python) for name in names]:
        if platform is None:
            _add_environment(requirement, python)
        else:
            _add_wheels(requirement, python, platform)


@runtimes.command("list")
@json_option("One JSON document a line.")
def list_added(as_json: bool) -> None:
    """List the runtimes that were added."""
    here, broken = environments()
    sets, broken_sets = wheel_sets()
    for folder in (*broken, *broken_sets):
        say(f"{folder} has no readable record: add it again, or remove the folder")
    if as_json:
        for folder, environment in here:
            document = {"folder": str(folder), "fault": fault(folder)}
            click.echo(json.dumps({**schema.to_document(environment), **document}))
        for folder, wheels in sets:
            click.echo(json.dumps({**schema.to_document(wheels), "folder": str(folder)}))
        return
    if not here and not sets:
        say("nothing is added yet: `hemline runtimes add litert==1.4.0`")
        return
    click.echo(as_text(_table(here, sets)))


@runtimes.command()
@click.argument("names", nargs=-1, required=True, metavar="RUNTIME==VERSION[@PYTHON]...")
@_PLATFORM
def remove(names: tuple[str, ...], platform: str | None) -> None:
    """Remove environments; without @PYTHON, those of every Python."""
    for requirement in [Requirement.parse(name) for name in names]:
        if requirement.version is None:
            raise UsageError(f"which version of {requirement.runtime}? See `hemline runtimes list`")
        asked = (requirement.runtime, requirement.version, requirement.python)
        found = find_wheel_sets(*asked, platform) if platform else find_environments(requirement)
        for folder, record in found:
            remove_folder(folder)
            say(f"{record.name}: removed")


def _requirement(name: str, python: str | None) -> Requirement:
    requirement = Requirement.parse(name)
    if requirement.python is not None and python is not None:
        raise UsageError(f"{name} already specifies a Python: omit --python")
    return requirement


def _add_environment(requirement: Requirement, python: str | None) -> None:
    from hemline.runtime.one_file import runtime_file

    interpreter = find_interpreter(python or requirement.python)
    _, environment, new = add_environment(requirement, interpreter, runtime_file())
    state = "works" if new else "exists already"
    click.echo(
        f"{environment.name}: {state} (numpy {environment.numpy_version}, "
        f"{environment.size_bytes / 1e6:.0f} MB)"
    )
    next_step("verify", "BUNDLE", "--runtime", f"{environment.runtime}=={environment.version}")


def _add_wheels(requirement: Requirement, python: str | None, platform: str) -> None:
    wanted = python or requirement.python or minor_of(find_interpreter(None).version)
    request = WheelRequest(
        runtime=requirement.runtime, version=requirement.version, python=wanted, machine=platform
    )
    folder, wheels = wheel_set(request.pinned())
    numpy = f"numpy {wheels.numpy_version}"
    if wheels.numpy_version is None:
        numpy = "numpy must be the device's own (apt-get install python3-numpy)"
    click.echo(f"{wheels.name}: {numpy}, {_megabytes(wheels)}, in {folder}")


def _table(here: list[tuple[Path, Environment]], sets: list[tuple[Path, WheelSet]]) -> Table:
    rows = [
        (
            environment.runtime,
            environment.version,
            environment.python_version,
            environment.numpy_version,
            f"{environment.size_bytes / 1e6:.0f} MB",
            "works" if (reason := fault(folder)) is None else f"broken: {reason}",
        )
        for folder, environment in here
    ]
    rows += [
        (
            wheels.runtime,
            wheels.version,
            wheels.python,
            wheels.numpy_version or "the device's",
            _megabytes(wheels),
            f"wheels for {wheels.machine}",
        )
        for _, wheels in sets
    ]
    return Table.of(("runtime", "version", "python", "numpy", ">size", "state"), rows)


def _megabytes(wheels: WheelSet) -> str:
    return f"{sum(wheel.size_bytes for wheel in wheels.wheels) / 1e6:.0f} MB"

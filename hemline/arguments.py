"""Arguments and options that have one meaning in every command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from hemline.contract.checkpoint import is_checkpoint
from hemline.errors import UsageError, remedy
from hemline.progress import say
from hemline.working_folder import only_bundle, only_one

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False)
CHECKPOINTS = Path("checkpoints")
FOLDER = click.Path(path_type=Path, file_okay=False)


def checkpoints() -> list[Path]:
    """Return the folders of the finished checkpoints in checkpoints/, sorted."""
    return sorted(each for each in CHECKPOINTS.glob("*") if is_checkpoint(each))


def only_checkpoint() -> Path:
    """Return the checkpoint in checkpoints/; raises UsageError, listing them, unless it is one."""
    return only_one(checkpoints(), f"checkpoint in {CHECKPOINTS}", remedy("name or train"))


def path_argument(
    name: str, metavar: str, *, only: Callable[[], Path] = only_bundle
) -> Callable[[F], F]:
    """Return the argument of a path that may be left out where only one such folder exists.

    Of several, where `metavar` ends in "…", `name` is a tuple of different paths.
    """
    several = metavar.endswith("…")

    def filled(context: click.Context, _: click.Parameter, given: Any) -> Any:
        if context.resilient_parsing:
            return given
        if several and len({path.resolve() for path in given}) < len(given):
            raise UsageError("a bundle or file is named twice")
        if given:
            return given
        found = only()
        say(f"{'checkpoint' if only is only_checkpoint else 'bundle'}: {found}")
        return (found,) if several else found

    shown = f"[{metavar.removesuffix('…')}]{'…' if several else ''}"
    return click.argument(
        name,
        metavar=shown,
        nargs=-1 if several else 1,
        required=False,
        callback=filled,
        type=PATH,
    )


def joined(
    name: str, build: Callable[..., Any], *options: Callable[[Any], Any]
) -> Callable[[F], F]:
    """Return what adds options, whose values `build` turns into one argument, `name`."""

    def add(command: F) -> F:
        @functools.wraps(command)
        def with_options(*arguments: Any, **others: Any) -> Any:
            given = {each: others.pop(each) for each in names}
            return command(*arguments, **{name: build(**given)}, **others)

        params = vars(with_options).setdefault("__click_params__", [])
        before = len(params)
        for option in reversed(options):
            option(with_options)
        names = [each.name for each in params[before:]]
        return cast("F", with_options)

    return add


def flag(name: str, text: str, *target: str) -> Callable[[F], F]:
    """Return an option without a value."""
    return click.option(name, *target, is_flag=True, help=text)


def json_option(text: str = "JSON lines instead of a table.") -> Callable[[F], F]:
    """Return --json with its help."""
    return flag("--json", text, "as_json")


def ray_option(what: str) -> Callable[[F], F]:
    """Return --ray: None where it is not given, "" without an address; `what` runs there."""
    text = f"Run {what} on a Ray cluster (default: RAY_ADDRESS, else this machine's cores)."
    return click.option(
        "--ray", "ray_address", is_flag=False, flag_value="", metavar="[ADDRESS]", help=text
    )


def ray_task_options(task: str) -> Callable[[F], F]:
    """Add what one task on a cluster occupies, as `resources` of the cluster module."""

    def resources(**given: Any) -> Any:
        from hemline.cluster import Resources

        return Resources(**given)

    cpus = click.option(
        "--ray-cpus",
        "cpus",
        default=1,
        show_default=True,
        type=click.IntRange(1),
        help=f"Cores for {task} on Ray, with as many threads.",
    )
    gpus = click.option(
        "--ray-gpus",
        "gpus",
        default=0.0,
        show_default=True,
        type=click.FloatRange(0),
        help=f"GPUs for {task} on Ray, or a share of one.",
    )
    return joined("resources", resources, cpus, gpus)


def output_option(text: str, kind: click.Path = FOLDER, default: object = None) -> Callable[[F], F]:
    """Return -o, --output with its help, of a folder or a file."""
    shown = default is not None
    return click.option("-o", "--output", type=kind, default=default, show_default=shown, help=text)

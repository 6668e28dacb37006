"""`hemline data cache`: what is kept of images that were decoded, and of teachers' predictions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from hemline.arguments import json_option
from hemline.command_group import CommandGroup
from hemline.console import say
from hemline.data.custom.cache_folders import DECODED, SOFT_TARGETS, by_use, remove
from hemline.data.custom.decoded_cache import CachedImages, listed
from hemline.errors import BusyError
from hemline.folders import size_of
from hemline.tables import Table, as_text, megabytes
from hemline.user_folders import cache_folder

_WHAT = "decoded images and predictions of teachers"
# in place of what they were made from, where that is not known
_UNNAMED = {DECODED: "(not finished)", SOFT_TARGETS: "predictions of teachers"}


@click.group(cls=CommandGroup)
def cache() -> None:
    """List and remove decoded images and predictions of teachers."""


@cache.command("list")
@json_option("One JSON document a line.")
def list_cached(as_json: bool) -> None:
    """List the decoded images of custom data sets, and the predictions of teachers."""
    found = [*itertools.chain.from_iterable(map(listed, _places()))]
    if as_json:
        for each in found:
            click.echo(json.dumps(_document(each)))
        return
    if not found:
        say(f"{cache_folder()} has no {_WHAT}")
        return
    click.echo(as_text(_table(found)))
    total = sum(each.size_bytes for each in found)
    say(f"{total / 1e6:,.0f} MB of {_WHAT} in {cache_folder()}")


@cache.command()
def clear() -> None:
    """Remove decoded images and predictions of teachers; what is needed is made again."""
    removed = 0
    for folder in itertools.chain.from_iterable(map(by_use, _places())):
        size = size_of(folder)
        try:
            remove(folder)
        except BusyError:
            say(f"{folder} is kept: another hemline command is writing into it")
            continue
        removed += size
    say(f"{removed / 1e6:,.0f} MB of {_WHAT} removed from {cache_folder()}")


def _places() -> Iterator[Path]:
    return (cache_folder() / kind for kind in _UNNAMED)


def _table(found: list[CachedImages]) -> Table:
    return Table.of(
        ("images of", "images", ">size", "last used"),
        (
            (
                each.source or _UNNAMED[each.path.parent.name],
                "" if each.shape is None else f"{each.shape[0]:,} of {_size(each.shape)}",
                megabytes(each.size_bytes),
                datetime.fromtimestamp(each.used).strftime("%Y-%m-%d %H:%M"),
            )
            for each in found
        ),
    )


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape[1:]))


def _document(each: CachedImages) -> dict[str, object]:
    return {
        "folder": str(each.path),
        "source": each.source,
        "shape": each.shape,
        "size_bytes": each.size_bytes,
        "last_used": datetime.fromtimestamp(each.used, UTC).isoformat(timespec="seconds"),
    }

"""`hemline data cache`: what is kept of the images that were decoded."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from hemline.arguments import json_option
from hemline.command_group import CommandGroup
from hemline.console import say
from hemline.data.custom.cache_folders import DECODED, by_use, remove
from hemline.data.custom.decoded_cache import CachedImages, listed
from hemline.errors import BusyError
from hemline.folders import size_of
from hemline.tables import Table, as_text, megabytes
from hemline.user_folders import cache_folder


@click.group(cls=CommandGroup)
def cache() -> None:
    """List and remove decoded images."""


@cache.command("list")
@json_option("One JSON document a line.")
def list_cached(as_json: bool) -> None:
    """List the decoded images of custom data sets."""
    found = listed(cache_folder() / DECODED)
    if as_json:
        for each in found:
            click.echo(json.dumps(_document(each)))
        return
    if not found:
        say(f"{cache_folder() / DECODED} is empty")
        return
    click.echo(as_text(_table(found)))
    total = sum(each.size_bytes for each in found)
    say(f"{total / 1e6:,.0f} MB in {cache_folder() / DECODED}")


@cache.command()
def clear() -> None:
    """Remove all decoded images; they are decoded again when they are needed."""
    removed = 0
    for folder in by_use(cache_folder() / DECODED):
        size = size_of(folder)
        try:
            remove(folder)
        except BusyError:
            say(f"{folder} is kept: another hemline command is reading images into it")
            continue
        removed += size
    say(f"{removed / 1e6:,.0f} MB removed from {cache_folder() / DECODED}")


def _table(found: list[CachedImages]) -> Table:
    return Table.of(
        ("images of", "images", ">size", "last used"),
        (
            (
                each.source or "(not finished)",
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

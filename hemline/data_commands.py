"""`hemline data`: find, check and show data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hemline.console import data_option, fetch_options, require_matplotlib, say
from hemline.dataset import Images
from hemline.fetch import load_images

_NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.group()
def data() -> None:
    """Fetch, check and show data sets."""


@data.command()
@_NAMES
@data_option
def fetch(names: tuple[str, ...], data: Path | None) -> None:
    """Put data sets into the cache, verified (default: fashion-mnist)."""
    for name in names or ("fashion-mnist",):
        images = load_images(name, fetch_options(data))
        say(f"{images.dataset.title}: {_summary(images)}, from {images.source}")


@data.command()
@_NAMES
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line for each data set.")
@data_option
def check(names: tuple[str, ...], as_json: bool, data: Path | None) -> None:
    """Check data sets that are here against their SHA-256; uses no network."""
    for name in names or ("fashion-mnist",):
        images = load_images(name, fetch_options(data, offline=True))
        if as_json:
            click.echo(json.dumps(_document(images)))
            continue
        state = "verified" if images.verified else "UNVERIFIED (not the official files)"
        click.echo(f"{images.dataset.title}: {_summary(images)}, {state}, from {images.source}")


@data.command()
@click.argument("name", default="fashion-mnist")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PNG to write (default: NAME.png).",
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@data_option
def show(name: str, output: Path | None, force: bool, data: Path | None) -> None:
    """Draw a contact sheet: a row of training images for each class."""
    path = output or Path(f"{name}.png")
    if path.exists() and not force:
        raise click.UsageError(f"{path} exists: name another file or use --force")
    require_matplotlib()
    images = load_images(name, fetch_options(data))
    from hemline.train.figures import contact_sheet

    contact_sheet(images, path)
    say(f"{path}: {len(images.dataset.labels)} classes")


def _document(images: Images) -> dict[str, Any]:
    return {
        "name": images.dataset.name,
        "train_images": len(images.train_images),
        "test_images": len(images.test_images),
        "shape": images.train_images.shape[1:],
        "labels": images.dataset.labels,
        "verified": images.verified,
        "source": images.source,
        "sha256": images.sha256,
    }


def _summary(images: Images) -> str:
    return f"{len(images.train_images):,} + {len(images.test_images):,} images"

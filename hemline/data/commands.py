"""`hemline data`: find, check and show data sets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hemline.arguments import FILE, flag, json_option, output_option
from hemline.command_group import CommandGroup
from hemline.console import data_option, data_words, next_step, require_matplotlib, say
from hemline.data.cache_commands import cache
from hemline.data.class_counts import class_counts, counts_line, warn_of_counts
from hemline.data.datasets import Images, find_dataset
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import UsageError

_DEFAULT = "fashion-mnist"
_NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.group(cls=CommandGroup)
def data() -> None:
    """Fetch, check and show data sets."""


data.add_command(cache)


@data.command()
@_NAMES
@data_option
def fetch(names: tuple[str, ...], data: FetchOptions) -> None:
    """Download and verify data sets: fashion-mnist (default), mnist."""
    for name in names or (None,):
        images = _load(name, data)
        say(f"{images.dataset.title}: {_summary(images)}, from {images.source}")
    _suggest_training(names, data)


@data.command()
@_NAMES
@json_option("One JSON document a line for each data set.")
@data_option
def check(names: tuple[str, ...], as_json: bool, data: FetchOptions) -> None:
    """Check local data sets against their SHA-256, or a custom data set; no network."""
    for name in names or (None,):
        images = _load(name, replace(data, offline=True))
        if as_json:
            click.echo(json.dumps(_document(images)))
        else:
            click.echo(
                f"{images.dataset.title}: {_summary(images)}, {_state(images)}, from "
                f"{images.source}"
            )
        if images.dataset.is_custom:
            if not as_json:
                click.echo(counts_line(images))
            warn_of_counts(images)
    _suggest_training(names, data)


@data.command()
@click.argument("name", required=False)
@output_option("PNG to write (default: the data set's name).", FILE)
@flag("--force", "Overwrite the file.")
@data_option
def show(name: str | None, output: Path | None, force: bool, data: FetchOptions) -> None:
    """Draw a contact sheet: a row of training images for each class (default: fashion-mnist)."""
    require_matplotlib()
    images = _load(name, data)
    path = output or Path(f"{images.dataset.name}.png")
    if path.exists() and not force:
        raise click.UsageError(f"{path} exists: name another file or use --force")
    from hemline.data.figures import contact_sheet

    contact_sheet(images, path)
    say(f"{path}: {len(images.dataset.labels)} classes")


@data.command()
@output_option("Folder to write to.", default=".")
@flag("--force", "Overwrite what is there.")
@data_option
def sample(output: Path, force: bool, data: FetchOptions) -> None:
    """Write pictures to try with: shirt.png, boot.png, and photos/ with a folder for each class."""
    from hemline.data.samples import write_samples

    if data.custom is not None:
        raise UsageError("the sample pictures come from Fashion-MNIST: omit --data")
    paths = write_samples(load_images(_DEFAULT, data), output, force=force)
    say(f"{output}: shirt.png, boot.png, and {len(paths) - 2} pictures in photos/")
    next_step("train", "--data", output / "photos", "--image-size", 32)


def _suggest_training(names: tuple[str, ...], data: FetchOptions) -> None:
    dataset = ("--dataset", names[0]) if names else ()
    next_step("train", *dataset, *data_words(data, to_train=True))


def _load(name: str | None, data: FetchOptions) -> Images:
    """Return a data set's images; without a name, of the default or of the custom data set.

    Raises UsageError for a custom data set together with a name.
    """
    images = load_images(name or _DEFAULT, data)
    if name is not None and images.dataset.is_custom:
        raise UsageError(
            f"{data.folder} is not {find_dataset(name).title} but a custom data set: omit {name}"
        )
    return images


def _document(images: Images) -> dict[str, Any]:
    return {
        "name": images.dataset.name,
        "train_images": len(images.train_images),
        "test_images": len(images.test_images),
        "shape": images.train_images.shape[1:],
        "labels": images.dataset.labels,
        "class_counts": class_counts(images),
        "verified": images.verified,
        "source": images.source,
        "sha256": images.sha256,
    }


def _state(images: Images) -> str:
    if images.dataset.is_custom:
        _, height, width, channels = images.train_images.shape
        colour = "gray" if channels == 1 else "colour"
        split = ", test part split off" if images.test_indices else ""
        if count := len(images.validation_indices):
            split = f", {count:,} of them for validation{split}"
        return f"{len(images.dataset.labels)} classes, {height} × {width} {colour}{split}"
    return "verified" if images.verified else "UNVERIFIED (not the official files)"


def _summary(images: Images) -> str:
    return f"{len(images.train_images):,} + {len(images.test_images):,} images"

"""Options with one meaning that commands share, and what is known of the user's wishes."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from hemline.arguments import PATH, flag, joined
from hemline.data.class_names import parse_labels
from hemline.data.custom.reading import ReadOptions
from hemline.data.fetch import FetchOptions
from hemline.errors import HemlineError, UsageError
from hemline.progress import say as say  # for every command

# Two test images travel in the stamp of every artifact, which has at most 1 MiB.
_LARGEST_SIDE = 320
F = TypeVar("F", bound=Callable[..., Any])


def quiet() -> bool:
    """Return whether the user asked for results and errors only."""
    context = click.get_current_context(silent=True)
    return context is not None and bool((context.find_root().obj or {}).get("quiet"))


def next_step(*words: object) -> None:
    """Print the command that usually follows this one on stderr; not with --quiet or --json."""
    if not click.get_current_context().params.get("as_json"):
        say(f"next: {shlex.join(('hemline', *map(str, words)))}")


def repeated(*names: str) -> tuple[str, ...]:
    """Return options of this command as the user gave them, for the next one."""
    context, words = click.get_current_context(), list[str]()
    for option in context.command.params:
        name, sources = str(option.name), (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
        if name in names and context.get_parameter_source(name) in sources:
            value = context.params[name]
            parts = value if isinstance(value, tuple) else (value,)  # sides of a size, or names
            joint = "x" if isinstance(parts[0], int) else ","
            shown = parts[:1] if len(set(parts)) == 1 else parts  # 64 for 64x64
            text = joint.join(str(part).removesuffix(".0") for part in shown)
            words += [option.opts[0]] if value is True else [option.opts[0], text]
    return tuple(words)


def data_words(data: FetchOptions, *, to_train: bool = False) -> tuple[object, ...]:
    """Return how the next command names the same custom data set.

    Where it is `to_train` on it, also how it is read, which a checkpoint knows.
    """
    if data.custom is None:
        return ()
    reading = ("image_size", "channels", "labels", "skip_broken") if to_train else ()
    return ("--data", data.custom, *repeated(*reading))


def image_size(
    context: click.Context, option: click.Parameter, given: str | None
) -> tuple[int, int] | None:
    """Return (height, width) of HEIGHTxWIDTH in pixels, or of one number for both."""
    if given is None:
        return None
    parts = given.lower().replace("×", "x").split("x")
    sides = [int(part) for part in parts if part.isdecimal()]
    if len(sides) != len(parts) or len(sides) > 2:
        what = "is not a size: 64x96 (height x width), or 64 for both"
        raise click.BadParameter(f"{given!r} {what}", context, option)
    if not 1 <= min(sides) <= max(sides) <= _LARGEST_SIDE:
        what = f"each side must be 1 to {_LARGEST_SIDE} pixels"
        raise click.BadParameter(f"{given!r}: {what}", context, option)
    return sides[0], sides[-1]


class _DataOption(click.Option):
    """An option that names its variable in an error only where the value came from there."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return how an error names the option."""
        source = None if ctx is None else ctx.get_parameter_source(self.name or "")
        if source is ParameterSource.ENVIRONMENT:
            return super().get_error_hint(ctx)
        return click.Parameter.get_error_hint(self, ctx)


_DATA_OPTIONS = (
    click.option(
        "--data",
        cls=_DataOption,
        type=PATH,
        envvar="HEMLINE_DATA",
        show_envvar=True,
        help="Custom images: a folder per class, .npz, IDX, tar, TFRecord or Parquet files.",
    ),
    click.option(
        "--image-size",
        metavar="HxW",
        callback=image_size,
        help="Resize the images of --data, as in 64 or 48x64.",
    ),
    click.option(
        "--channels",
        type=click.Choice(["1", "3"]),
        help="Convert them to gray (1) or colour (3) (default: gray if all are).",
    ),
    click.option(
        "--labels", help="Class names of the .npz, IDX or model file: a text file, or a,b,…"
    ),
    flag("--skip-broken", "Skip images that cannot be read."),
)


class AliasedOption(click.Option):
    """An option whose help shows the first of its names only; the others are of older versions."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the line of the help."""
        names, self.opts = self.opts, self.opts[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


def budget_options(max_drop: float | None) -> Callable[[F], F]:
    """Add the fields of Budget; `max_drop` is the default of one of them, in percentage points."""

    def add(command: F) -> F:
        for option in (
            click.option("--max-ms", type=float, help="Largest median latency, milliseconds."),
            click.option("--max-kb", type=float, help="Largest file, kB of 1000 bytes."),
            click.option(
                "--max-drop",
                "--max-drop-points",
                "max_drop_points",
                cls=AliasedOption,
                type=float,
                default=max_drop,
                show_default=max_drop is not None,
                help="Largest loss of validation accuracy, points.",
            ),
        ):
            command = option(command)
        return command

    return add


runtimes_option = click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    help="litert, tflite-runtime, onnxruntime (==VERSION if added), installed (default) or all.",
)


strangers_option = click.option(
    "--strangers",
    multiple=True,
    callback=lambda _, __, names: tuple(dict.fromkeys(names)),
    metavar="NAME|PATH",
    help="Images of no class: digits, textures, noise, a data set, folder or file; repeatable.",
)


def require_custom(options: FetchOptions) -> None:
    """Raise UsageError for options of custom data sets without such data."""
    if options.reading != ReadOptions() and options.custom is None:
        raise UsageError(
            "--image-size, --channels, --labels and --skip-broken are for a custom data set: "
            "name it with --data"
        )


def _fetch_options(
    data: Path | None,
    image_size: tuple[int, int] | None,
    channels: str | None,
    labels: str | None,
    skip_broken: bool,
) -> FetchOptions:
    reading = ReadOptions(
        size=image_size,
        channels=None if channels is None else int(channels),
        labels=None if labels is None else parse_labels(labels),
        skip_broken=skip_broken,
    )
    return FetchOptions(folder=data, reading=reading)


def _of_custom_data(**given: Any) -> FetchOptions:
    options = _fetch_options(**given)
    require_custom(options)
    return options


# --data (HEMLINE_DATA) and the options of custom data sets, as `data: FetchOptions`
data_option = joined("data", _of_custom_data, *_DATA_OPTIONS)
# The same for a command whose --labels may be those of a model: it calls require_custom for a model
# that has labels of its own.
model_data_option = joined("data", _fetch_options, *_DATA_OPTIONS)


def require_matplotlib() -> None:
    """Raise HemlineError when no picture can be drawn here, before the work for it begins."""
    require_package("matplotlib", "pictures need matplotlib: pip install matplotlib")


def require_package(package: str, message: str) -> None:
    """Raise HemlineError with a message when a package is missing."""
    if importlib.util.find_spec(package) is None:
        raise HemlineError(message)

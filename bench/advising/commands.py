"""`hemline advise`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hemline.arguments import json_option, path_argument
from hemline.contract.checkpoint import is_checkpoint
from hemline.contract.schema import to_document
from hemline.contract.stamp import read_stamped
from hemline.errors import BackendError, UnknownNameError, UsageError
from hemline.tables import Table, as_text

if TYPE_CHECKING:
    from hemline.bench.advising.advice import Advice
    from hemline.bench.devices.device import Device
    from hemline.bench.profiling.one_operator import Arithmetic


@click.command()
@path_argument("path", "CHECKPOINT|BUNDLE|FILE")
@click.option(
    "--runtime", help="litert, tflite-runtime or onnxruntime (default: the first for the file)."
)
@click.option(
    "--arithmetic",
    type=click.Choice(["float32", "int8", "dynamic"]),
    help="Of all layers (default: that of the file; int8 for a checkpoint).",
)
@click.option(
    "--device",
    default="local",
    show_default=True,
    help="Where to measure: local, gpu, or the name or address of a board.",
)
@json_option("One JSON document a line.")
def advise(
    path: Path, runtime: str | None, arithmetic: Arithmetic | None, device: str, as_json: bool
) -> None:
    """Find layer sizes and operators that would be faster.

    Each layer is timed alone, as it is and with other sizes, in models with random weights. Only
    training can show what a change does to the accuracy. Of a bundle, the file that would run here
    is used.
    """
    from hemline.bench.devices.addresses import open_device

    with open_device(device) as opened:
        found, where = _advised(path, runtime, arithmetic, opened)
    found.sort(key=lambda each: -each.share)
    if as_json:
        for each in found:
            click.echo(json.dumps(to_document(each)))
        return
    if found:
        click.echo(f"{as_text(_table(found))}\n")
    click.echo("\n".join(each.sentence for each in found) or "nothing would be faster")
    click.echo(f"measured in {where}, one thread, each layer alone")


def _advised(
    path: Path, runtime: str | None, arithmetic: Arithmetic | None, device: Device
) -> tuple[list[Advice], str]:
    from hemline.bench.advising.advice import advise, advise_operators
    from hemline.bench.advising.layers import layers_of
    from hemline.bench.profiling.profiling import OPERATORS
    from hemline.bench.profiling.timing import ModelTimer, TimedModel
    from hemline.export.inspection.models import inspect_model
    from hemline.runtime.bundle_choice import pick_artifact

    file = None
    if is_checkpoint(path):
        arithmetic = arithmetic or "int8"
    else:
        path = pick_artifact(path, runtime)[0] if path.is_dir() else path
        file = read_stamped(path)
    inspected = inspect_model(path)
    if inspected.contents is None:
        raise BackendError(inspected.missing)
    if not (device.capabilities.latencies and device.capabilities.raw_models):
        raise UsageError(f"{device.name} cannot time a layer alone")
    versions = dict(device.runtimes())
    formats = ("tflite", "onnx") if file is None else (file.stamp.format,)
    fitting = [each for each in versions if device.backend(each).format in formats]
    name = runtime or next(iter(fitting), "")
    if name not in fitting:
        raise UnknownNameError("runtime", name, fitting)
    found: list[Advice] = []
    whole_ns = None
    if file is not None and arithmetic is None:
        model = TimedModel(name=path.name, content=file.model)
        with ModelTimer(device, name, versions[name]) as timer:
            operators = OPERATORS[file.stamp.format](timer, model, False)
        found, whole_ns = [*advise_operators(operators)], operators.whole.ns
    layers = layers_of(inspected.contents, arithmetic)
    found += advise(layers, partial(ModelTimer, device, name, versions[name]), whole_ns)
    return found, f"{name} {versions[name]} on {device.name}"


def _table(found: list[Advice]) -> Table:
    return Table.of(
        ("layer", "now", "instead", ">now", ">then", ">of the model"),
        (
            (
                f"{each.layers[0]}{f' + {len(each.layers) - 1}' if each.layers[1:] else ''}",
                each.now,
                each.then,
                f"{each.before_ns / 1000:.1f} µs",
                f"{each.after_ns / 1000:.1f} µs",
                f"-{100 * each.share:.0f} %",
            )
            for each in found
        ),
    )

"""What tuning tries beside the defaults, and for which files in which runtimes it makes sense.

A processor that lacks what a row needs refuses it, in one line, where it is tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hemline.contract.manifest import Artifact
from hemline.contract.settings import Settings

_KINDS = {"fp32": "float", "fp16": "float", "dynamic": "dynamic"}  # of schemes; all others: int8


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A row of the table.

    settings: to try.
    runtimes: that have them.
    kinds: of arithmetic that they can help: float, dynamic (8-bit weights only) and int8.
    """

    settings: Settings
    runtimes: tuple[str, ...]
    kinds: tuple[str, ...]


_TFLITE = ("litert", "tflite-runtime")
OPTIONS = (
    # ONNX Runtime takes AMX when it is imported, before a classifier can know its version
    Option(settings=Settings(refused=("amx",)), runtimes=_TFLITE, kinds=("dynamic", "int8")),
    Option(settings=Settings(delegate="xnnpack-int8"), runtimes=_TFLITE[1:], kinds=("int8",)),
    # its XNNPACK leaves the convolutions: handing over may cost more than the rest gains
    Option(settings=Settings(delegate="builtin"), runtimes=_TFLITE[1:], kinds=("dynamic",)),
    Option(settings=Settings(fp16=True), runtimes=_TFLITE[1:], kinds=("float",)),
    # the last level changes the layout of float convolutions, which does not suit every shape
    Option(settings=Settings(optimization="extended"), runtimes=("onnxruntime",), kinds=("float",)),
)


def options_for(artifact: Artifact, runtime: str) -> Iterable[Settings]:
    """Yield the settings that make sense for an artifact in a runtime."""
    kind = _KINDS.get(artifact.scheme, "int8")
    for option in OPTIONS:
        if runtime in option.runtimes and kind in option.kinds:
            yield option.settings


def threads_on(cores: int) -> tuple[int, ...]:
    """Return the numbers of threads to try on so many cores: 1, half of them, all."""
    return tuple(dict.fromkeys((1, max(1, cores // 2), cores)))

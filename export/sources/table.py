"""The sources: every kind of model that can be exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.contract.specs import LOGITS
from hemline.errors import UnknownNameError
from hemline.runtime.backends import attribute

if TYPE_CHECKING:
    from hemline.export.sources.source import ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """A row of the SOURCES table.

    name: as a model card has it.
    summary: one line for help and tables.
    opener: "module:function" (path, outputs) → ModelSource.
    """

    name: str
    summary: str
    opener: str


SOURCES: dict[str, SourceKind] = {
    kind.name: kind
    for kind in (
        SourceKind(
            name="keras",
            summary="a Keras 3 model, pixels 0 … 255 in, logits out",
            opener="hemline.export.sources.keras:open_keras",
        ),
        SourceKind(
            name="onnx",
            summary="an imported model as a float ONNX graph, pixels 0 … 255 in, logits out",
            opener="hemline.export.sources.graph:open_graph",
        ),
    )
}


def find_source(kind: str) -> SourceKind:
    """Return a row of SOURCES; raises UnknownNameError with the nearest name."""
    if kind not in SOURCES:
        raise UnknownNameError("kind of model", kind, SOURCES)
    return SOURCES[kind]


def open_source(kind: str, path: Path, *, outputs: tuple[str, ...] = (LOGITS,)) -> ModelSource:
    """Load a model for export, with the outputs that its files are to have."""
    source: ModelSource = attribute(find_source(kind).opener)(path, outputs)
    return source

"""Judge remedies by simulation on the validation images of an export."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from hemline.closing import Closing
from hemline.export.bundle import ExportRequest, opened_source
from hemline.export.making import ArtifactMaker, ExportInputs
from hemline.export.quantization import simulation
from hemline.export.quantization.options import PostTrainingOptions
from hemline.export.quantization.quantized import Quantized
from hemline.export.scheme import Scheme
from hemline.export.sources.source import ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A remedy as it was tried.

    options: how ranges were found.
    quantized: what it gave.
    drop_points: what that loses on validation, percentage points (agreement without labels).
    """

    options: PostTrainingOptions
    quantized: Quantized
    drop_points: float


class Judge(Closing):
    """Tries remedies on one model, which is opened for the first and stays open."""

    def __init__(
        self, request: ExportRequest, inputs: ExportInputs, say: Callable[[str], None]
    ) -> None:
        self._request, self._inputs, self._say = request, inputs, say
        self._opened = ExitStack()

    def judge(self, scheme: Scheme, options: PostTrainingOptions) -> Judged:
        """Plan a scheme with ranges found one way; raises HemlineError as its planner does."""
        inputs = with_ranges(self._inputs, options)
        maker = ArtifactMaker(inputs, self._source, self._request.bundle, self._say)
        quantized = maker.quantized(scheme)
        if quantized is None:
            raise AssertionError("a remedy has a planner")
        images, labels = inputs.validation
        found = simulation.fidelity(
            simulation.logits(quantized, images),
            self._reference,
            labels if inputs.images.labelled else None,
        )
        return Judged(options=options, quantized=quantized, drop_points=found.drop_points)

    @functools.cached_property
    def _source(self) -> ModelSource:
        return self._opened.enter_context(opened_source(self._request, self._inputs))

    @functools.cached_property
    def _reference(self) -> simulation.Floats:
        return simulation.float_logits(self._source.float_graph, self._inputs.validation[0])

    def close(self) -> None:
        """Close the model."""
        self._opened.close()


def with_ranges(inputs: ExportInputs, options: PostTrainingOptions) -> ExportInputs:
    """Return inputs with ranges found another way, on the same images."""
    return replace(inputs, options=replace(inputs.options, post_training=options))

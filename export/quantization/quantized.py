"""A quantized model before it is a file: float graph, plan, and what was done to them."""

from __future__ import annotations

from dataclasses import dataclass

from hemline.contract.steps import Step
from hemline.export.quantization.annotation import AnnotatedGraph
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.plan import QuantizationPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A float graph, perhaps with other weights than the source's, and the plan for it.

    float_graph: what the files of both formats are written from.
    plan: of this graph.
    steps: what was done, in order; none for plain calibration.
    calibration: images, for a writer that observes ranges itself; None for the others.
    """

    float_graph: FloatGraph
    plan: QuantizationPlan
    steps: tuple[Step, ...] = ()
    calibration: Calibration | None = None

    @property
    def annotated(self) -> AnnotatedGraph:
        """Return the graph with the numbers of the plan; made anew each time."""
        return AnnotatedGraph(self.float_graph, self.plan)

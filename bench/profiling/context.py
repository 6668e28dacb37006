"""What an explanation may use of a cell that was just profiled."""

from __future__ import annotations

from dataclasses import dataclass

from hemline.bench.profiling.operators import Operators
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.contract.job import HostFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileContext:
    """The model of a cell, and a timer to try something else on it.

    timer: has the whole model and its operators open; times a changed model, or this one in other
        settings, beside them in turn.
    model: the whole model, without its stamp.
    operators: of the model, with models of each alone.
    host: that it was profiled on.
    fallback: what runs it instead of an accelerator; empty where none was asked for.
    """

    timer: ModelTimer
    model: TimedModel
    operators: Operators
    host: HostFacts
    fallback: str

"""Time raw models: the parts of a model beside the whole, one after the other in one process.

The other kind of job: its models carry no stamp, have any inputs and travel inside the document,
and their inputs are random. The result is a JobResult with a cell for each model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hemline.contract.settings import DEFAULT, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RawModel:
    """A model by name.

    name: that a later job of the same process knows it by.
    content: base64 of its bytes; empty for one that an earlier job opened.
    """

    name: str
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingJob:
    """What to time.

    id: given back in the result.
    runtime: name in the BACKENDS table.
    models: timed in this order.
    in_turn: whether they take turns at each invocation, as the operators of a model do, so that
        caches hold what they hold there; else all invocations of one come before the next model.
    threads: that the runtime may use.
    warmup: invocations of each before the clock starts, at most.
    invocations: timed ones of each, at most; 0 only opens the models and invokes them once.
    slice_ns: time for each model, or for all in turn; 0 for no limit. One invocation is timed at
        least.
    seed: of the random inputs.
    settings: how the runtime is opened; those of the process are the same for all its jobs.
    """

    KIND: ClassVar[str] = "timing job"
    SCHEMA: ClassVar[int] = 1

    id: str
    runtime: str
    models: tuple[RawModel, ...]
    in_turn: bool = False
    threads: int = 1
    warmup: int = 0
    invocations: int = 0
    slice_ns: int = 0
    seed: int = 0
    settings: Settings = DEFAULT

"""The one way anything is ever run: a job goes to a child process, a job result comes back.

One JSON document a line in each direction; large arrays travel as .npy files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hemline.contract.schema import added
from hemline.contract.settings import DEFAULT, Settings
from hemline.contract.specs import LOGITS, Accelerator, Status

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Want = Literal["outputs", "latencies", "package", "power"]
FailureKind = Literal["unsupported", "backend", "file", "data", "job", "crash"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCell:
    """One setting to run an artifact in.

    threads: that the runtime may use.
    batch: images per invocation.
    warmup: invocations before the clock starts.
    invocations: timed ones, cycling over the images; 0 for each image once.
    settings: how the runtime is opened.
    """

    threads: int = 1
    batch: int = 1
    warmup: int = 0
    invocations: int = 0
    settings: Settings = added(DEFAULT)

    def __post_init__(self) -> None:
        if self.threads < 1 or self.batch < 1 or self.warmup < 0 or self.invocations < 0:
            raise ValueError(
                "threads and batch must be at least 1, warmup and invocations at least 0"
            )
        if self.threads > 256 or self.batch > 65536:
            raise ValueError(
                "threads can be at most 256, batch at most 65536: more only exhausts the machine"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to run.

    id: given back in the result.
    artifact: path of a stamped file.
    runtime: name in the BACKENDS table.
    images: path of a uint8 .npy of shape (n, height, width, channels).
    first: index of the first image to use.
    count: number of images to use; None for all that follow.
    cells: settings, run one after the other.
    want: what to return (outputs as float32 .npy (images, …); latencies in nanoseconds; package:
        the size of the runtime's package; power: what the machine takes).
    arrays: folder for the arrays of the result.
    allow_unsupported: whether to run it in a runtime that the file does not support, as
        verification does to find out what happens there.
    accelerator: what must run it; a job that asks for the gpu and would be given the cpu fails.
    fallback: whether the cpu may run all or part of it where the gpu cannot.
    outputs: names of the outputs that each invocation reads.
    """

    KIND: ClassVar[str] = "job"
    SCHEMA: ClassVar[int] = 5

    id: str
    artifact: str
    runtime: str
    images: str
    first: int = 0
    count: int | None = None
    cells: tuple[JobCell, ...] = (JobCell(),)
    want: tuple[Want, ...] = ("outputs",)
    arrays: str | None = None
    allow_unsupported: bool = added(False)
    accelerator: Accelerator = added("cpu")
    fallback: bool = added(False)
    outputs: tuple[str, ...] = added((LOGITS,))

    @staticmethod
    def upgraded(document: dict[str, Any], schema: int) -> dict[str, Any]:
        """Bring a job of schema 1 to 3 to this one: the only output was called logits."""
        del schema
        document["want"] = ["outputs" if each == LOGITS else each for each in document["want"]]
        return document


def array_name(job: Job, cell: JobCell, at: int) -> str:
    """Return the name of the .npy file with the output `at` of the job's names."""
    settings = "".join(each if each.isalnum() else "_" for each in cell.settings.text)
    return f"{job.id}-{cell.threads}x{cell.batch}{settings and f'-{settings}'}-{at}.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What was measured on: nothing here is a setting, all of it was read from the system.

    machine: architecture (x86_64, aarch64, …).
    processor: model name.
    cores: logical cores that this process may use.
    memory_bytes: of the machine; None where unknown.
    system: kernel name and release.
    governor: frequency governor; None where the system shows none.
    frequency_khz: of the first core at the end of the job; None where the system shows none.
    temperature_millicelsius: highest thermal zone; None where the system shows none.
    load_average: over the last minute; None where the system shows none.
    throttled: whether the processor is or was slowed down by heat or low voltage since it was
        started; None where the system does not report it.
    """

    machine: str = ""
    processor: str = ""
    cores: int = 0
    memory_bytes: int | None = None
    system: str = ""
    governor: str | None = None
    frequency_khz: int | None = None
    temperature_millicelsius: int | None = None
    load_average: float | None = None
    throttled: bool | None = added(None)

    @property
    def processor_kind(self) -> str:
        """Return the processor or board without its revision: what settings are tuned for."""
        return self.processor.partition(" Rev ")[0]

    @property
    def name(self) -> str:
        """Return what measurements must have in common to be compared."""
        return host_name(self.processor, self.cores, self.system)


def host_name(processor: str, cores: int, system: str) -> str:
    """Return the identity of a host: it changes with the processor, its cores and the kernel."""
    return f"{processor}, {cores} cores, {system}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job gave no result.

    kind: unsupported (refused by the stamp), backend (missing or broken), file (artifact), data
        (images), job (it names a runtime or an output that there is not), crash (anything else, the
        death of the child included).
    message: one line for the user.
    """

    kind: FailureKind
    message: str

    @property
    def status(self) -> Status:
        """Return refused where the runtime is missing or does not open the file, else failed."""
        return "refused" if self.kind in ("unsupported", "backend") else "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An operator that a TFLite interpreter really executes.

    kind: CONV_2D, DELEGATE, ….
    inputs, outputs: numbers of tensors.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What a model computes.

    name: of the tensor.
    dtype, shape: of its values.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """What came of one cell.

    threads: asked for.
    batch: images per invocation.
    threads_used: counted in the operating system after the first invocation; None where it does
        not tell.
    delegate: what really runs the operators (XNNPACK, builtin, an execution provider, a GPU).
    load_ns: from model bytes to a session ready to run; 0 when the session was open already.
    first_ns: first invocation after loading; 0 likewise.
    latencies_ns: one per timed invocation: set input, invoke, get outputs; empty unless wanted.
    outputs: name of each output to the path of its float32 .npy (images, …), logits as
        (images, classes); empty unless wanted.
    software: whether a program in place of a GPU ran it, so that its times are no latencies.
    arena_bytes: tensor arena of a microcontroller interpreter; None for every other runtime.
    nodes: of a raw TFLite model that a timing job has just opened, in order; those of delegates
        are behind the model's own.
    graph: base64 of the ModelProto that ONNX Runtime executes in place of a raw model that it may
        rewrite.
    values: outputs of a raw model, when it has run.
    """

    threads: int
    batch: int
    threads_used: int | None
    delegate: str
    load_ns: int
    first_ns: int
    latencies_ns: tuple[int, ...]
    outputs: dict[str, str]
    software: bool = added(False)
    arena_bytes: int | None = added(None)
    nodes: tuple[Node, ...] = added(())
    graph: str = added("")
    values: tuple[Value, ...] = added(())


@dataclass(frozen=True, slots=True, kw_only=True)
class HostActivity:
    """What a machine did while a job ran; None where the system does not tell.

    elapsed_ticks: clock ticks of all cores together.
    busy_ticks: of them, what other processes used; below 0 where a tick counted for neither: only
        the sum of several says something.
    stolen_ticks: of them, what the hypervisor gave to other machines.
    frequency_khz: of the core that the job was on, the smaller of before and after.
    throttled: whether heat or low voltage slowed the processor down.
    """

    elapsed_ticks: int | None
    busy_ticks: int | None
    stolen_ticks: int | None
    frequency_khz: int | None
    throttled: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerReading:
    """The energy that a machine has taken since a job runner first looked.

    source: what reports it.
    clock_ns: time of the reading, by a clock of the machine.
    joules: taken so far.
    """

    source: str
    clock_ns: int
    joules: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What came of a job.

    id: of the job.
    failure: None when all cells were run.
    runtime: name in the BACKENDS table.
    runtime_version: of its package; empty when it could not be imported.
    numpy_version: in the child.
    python_version: of the child.
    import_ns: time to import the runtime in this child.
    cells: one for each cell of the job, in order; empty after a failure.
    peak_memory_bytes: largest resident memory of the child so far.
    steady_memory_bytes: resident memory at the end of the job; None where unknown.
    host: facts of the machine, read at the end of the job.
    process_ns: from the start of the child until it could read a job; None where unknown.
    package_bytes: of the runtime's package; None unless wanted.
    activity: of the machine, in a child's first job since it could read it; None in older results.
    power: readings before and after the job; empty unless wanted, and where none is reported.
    """

    KIND: ClassVar[str] = "job result"
    SCHEMA: ClassVar[int] = 5

    id: str
    failure: Failure | None
    runtime: str
    runtime_version: str
    numpy_version: str
    python_version: str
    import_ns: int
    cells: tuple[CellResult, ...]
    peak_memory_bytes: int
    steady_memory_bytes: int | None
    host: HostFacts
    process_ns: int | None = added(None)
    package_bytes: int | None = added(None)
    activity: HostActivity | None = added(None)
    power: tuple[PowerReading, ...] = added(())

    def logits(self) -> npt.NDArray[np.float32]:
        """Read the logits of the first cell, float32 (images, classes)."""
        return self.output(LOGITS)

    def output(self, name: str) -> npt.NDArray[np.float32]:
        """Read an output of the first cell, float32 (images, …)."""
        import numpy as np  # here, because a board without numpy has host facts too

        values: npt.NDArray[np.float32] = np.load(self.cells[0].outputs[name], allow_pickle=False)
        return values

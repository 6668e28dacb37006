"""The runtimes that can open an artifact, and how each is found and tried."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from hemline.errors import BackendError, FileFormatError, UnknownNameError

# Half a cold start goes into importing: what only type checkers read, only they load.
if TYPE_CHECKING:
    from typing import Protocol

    import numpy.typing as npt

    from hemline.contract.settings import Settings
    from hemline.contract.specs import Accelerator, Format, InputSpec, OutputSpec
else:
    Protocol = object

Tensor: TypeAlias = "npt.NDArray[np.generic]"
LOGITS_ONLY = ("logits",)  # the names of the outputs that classification reads


class OutputFacts(NamedTuple):
    """What a file has as an output: its values an image, None where these are free."""

    size: int | None
    dtype: np.dtype[np.generic]

    @classmethod
    def of(cls, shape: Sequence[object], dtype: object) -> OutputFacts:
        """Return the facts of a shape with its batch dimension; free dimensions are no numbers."""
        sizes = [int(each) for each in shape[1:] if isinstance(each, int | np.integer)]
        size = math.prod(sizes) if len(sizes) == len(shape) - 1 else None
        return cls(size, np.dtype(dtype))  # type: ignore[call-overload]


class Session(Protocol):
    """One opened model with one thread count and one batch size; not for two threads at once.

    outputs: what the file has at the position of each output of the stamp, by name.
    delegate, software, arena_bytes: as in CellResult.
    """

    input_shape: tuple[int, ...]
    input_dtype: np.dtype[np.generic]
    outputs: dict[str, OutputFacts]
    delegate: str
    software: bool
    arena_bytes: int | None

    def run(self, tensor: Tensor, names: Sequence[str] = LOGITS_ONLY) -> Sequence[Tensor]:
        """Run one batch of `input_shape`; return the raw outputs (batch, …) of these names."""

    def close(self) -> None:
        """Free the model."""


class SessionOptions(NamedTuple):
    """How to open a model.

    outputs: all that its stamp says it has.
    threads: that the runtime may use.
    batch: images a run.
    accelerator: what must run it.
    fallback: whether the processor may run all or part of what was asked of the GPU.
    settings: what else is not left to the runtime; None for nothing.
    """

    outputs: Sequence[OutputSpec]
    threads: int
    batch: int
    accelerator: Accelerator = "cpu"
    fallback: bool = False
    settings: Settings | None = None


class Backend(NamedTuple):
    """A row of the BACKENDS table.

    name: key in the table, also in stamps and records.
    format: of the files it opens.
    module: to import, or "module:function" that imports the runtime.
    session: "module:class" that opens a model.
    gpu_session: "module:class" that opens one on a GPU; None where the runtime has no way to.
    packages: what pip installs it with.
    development_only: whether it is only for the machine that trains and exports.
    batches: whether a session can have another batch size than the file.
    reader: "module:function" from a path to a StampedFile, for what is not a stamped file.
    numpy_below: first numpy major version it cannot work with; None where any works.
    not_after: module that must not be loaded in the process before it; None where any may.
    opt_out: environment variable that keeps it from reporting home; None where it does not.
    settings: fields of Settings that its sessions on the processor apply.
    """

    name: str
    format: Format
    module: str
    session: str
    packages: str
    gpu_session: str | None = None
    numpy_below: int | None = None
    not_after: str | None = None
    opt_out: str | None = None
    development_only: bool = False
    batches: bool = True
    reader: str = "hemline.contract.stamp:read_stamped"
    settings: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """Return the name under which Python imports the runtime."""
        return self.name if ":" in self.module else self.module.split(".")[0]


# In order of preference: the first installed one that a file supports is used.
BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            name="litert",
            format="tflite",
            module="ai_edge_litert.interpreter",
            session="hemline.runtime.sessions.interpreter:InterpreterSession",
            gpu_session="hemline.runtime.sessions.compiled:CompiledSession",
            packages="ai-edge-litert",
            settings=("delegate",),
        ),
        Backend(
            name="tflite-runtime",
            format="tflite",
            module="tflite_runtime.interpreter",
            session="hemline.runtime.sessions.interpreter:InterpreterSession",
            packages="tflite-runtime 'numpy<2'",
            settings=("delegate", "fp16"),
            # with numpy 2 it imports, and then Interpreter() raises SystemError
            numpy_below=2,
            # both bring a TensorFlow Lite of their own, and the later one crashes in the other's
            not_after="tensorflow",
        ),
        Backend(
            name="onnxruntime",
            format="onnx",
            module="onnxruntime",
            session="hemline.runtime.sessions.onnx:OnnxSession",
            gpu_session="hemline.runtime.sessions.onnx_gpu:OnnxGpuSession",
            packages="onnxruntime",
            # else it writes a device identifier into the home folder and sends usage data
            opt_out="ORT_DISABLE_TELEMETRY",
            settings=("optimization",),
        ),
        Backend(
            name="keras",
            format="keras",
            module="hemline.train.tensorflow:quiet_keras",
            session="hemline.train.keras_session:KerasSession",
            reader="hemline.train.keras_session:read_checkpoint",
            packages="tensorflow keras",
            development_only=True,
        ),
    )
}


def find_backend(name: str) -> Backend:
    """Return a row of the BACKENDS table; raises UnknownNameError with the nearest name."""
    if name not in BACKENDS:
        raise UnknownNameError("runtime", name, BACKENDS)
    return BACKENDS[name]


def installed(backend: Backend) -> bool:
    """Tell whether the backend's package is there, without importing it."""
    return importlib.util.find_spec(backend.package) is not None


@functools.cache
def version_of(backend: Backend) -> str:
    """Return the version of the backend's package; BackendError when it is missing or broken."""
    _opt_out(backend)
    try:
        return str(importlib.import_module(backend.package).__version__)
    except Exception as error:  # a package that is half there lets anything out
        raise _missing(backend, error) from error


def open_session(backend: Backend, model: bytes, options: SessionOptions) -> Session:
    """Open model bytes in a backend.

    Raises BackendError when the backend is missing or broken, or refuses the model or a setting,
    and when the GPU that was asked for cannot run all of it.
    """
    require_working(backend)
    if options.settings is not None:
        require_settings(backend, options.accelerator, options.settings)
    if options.accelerator == "cpu":
        return _session(backend, backend.session, model, options)
    try:
        if backend.gpu_session is None:
            raise BackendError(f"{backend.name} cannot use a GPU: use litert or onnxruntime")
        return _session(backend, backend.gpu_session, model, options)
    except BackendError as error:
        if not options.fallback:
            raise
        import logging  # here, because few processes ever need it

        logging.getLogger(__name__).warning("%s; it runs on the processor", error)
    session = _session(backend, backend.session, model, options)
    session.delegate = f"{session.delegate} instead of a GPU"
    return session


def _session(backend: Backend, what: str, model: bytes, options: SessionOptions) -> Session:
    session: Session = attribute(what)(load_module(backend), model, options)
    return session


def require_settings(backend: Backend, accelerator: Accelerator, settings: Settings) -> None:
    """Raise BackendError for a setting that sessions of a backend do not have."""
    from hemline.contract.settings import DEFAULT  # here, because few sessions have settings

    known = backend.settings if accelerator == "cpu" else ()
    for name in ("delegate", "optimization", "fp16"):
        if name not in known and getattr(settings, name) != getattr(DEFAULT, name):
            asked = type(settings)(**{name: getattr(settings, name)}).text
            raise BackendError(f"{backend.name} has no such setting on the {accelerator}: {asked}")


def attribute(name: str) -> Any:
    """Import and return what a row names as "module:attribute"."""
    module, _, what = name.partition(":")
    return getattr(importlib.import_module(module), what)


def require_count(inputs: int, outputs: int, specs: Sequence[OutputSpec]) -> None:
    """Raise FileFormatError unless a model has one input, and as many outputs as its stamp says."""
    if inputs != 1 or outputs != len(specs):
        raise FileFormatError(
            f"the stamp says 1 input and {len(specs)} output{'s'[: len(specs) - 1]}, the model has "
            f"{inputs} and {outputs}: export it again"
        )


def require_specs(session: Session, source: InputSpec, outputs: Sequence[OutputSpec]) -> None:
    """Raise FileFormatError unless a model has the input and outputs of its stamp."""
    shape = (session.input_shape[0], *source.shape)
    if session.input_shape != shape or np.dtype(session.input_dtype) != np.dtype(source.dtype):
        raise FileFormatError(
            f"the stamp says {source.dtype} {source.shape}, the model has "
            f"{np.dtype(session.input_dtype)} {session.input_shape[1:]}: export it again"
        )
    for spec in outputs:
        size, dtype = session.outputs[spec.name]
        if size not in (None, spec.size) or dtype != np.dtype(spec.dtype):
            raise FileFormatError(
                f"the stamp says {spec.name} of {spec.size} {spec.dtype} values, the model has "
                f"{size} {dtype}: export it again"
            )


def load_module(backend: Backend) -> object:
    """Import the backend; raises BackendError naming its packages if it is missing or broken."""
    _opt_out(backend)
    try:
        if ":" in backend.module:
            loaded: object = attribute(backend.module)()
            return loaded
        return importlib.import_module(backend.module)
    except Exception as error:  # a package that is half there lets anything out
        raise _missing(backend, error) from error


def require_working(backend: Backend) -> None:
    """Raise BackendError when the backend would break in this process."""
    if backend.not_after is not None and backend.not_after in sys.modules:
        raise BackendError(
            f"{backend.name} crashes in a process that has loaded {backend.not_after}: use "
            "litert, or run it in a separate process"
        )
    require_numpy(backend)


def require_numpy(backend: Backend) -> None:
    """Raise BackendError when the backend cannot work with the numpy that is here."""
    if backend.numpy_below is None:
        return
    if int(np.__version__.partition(".")[0]) >= backend.numpy_below:
        raise BackendError(
            f"{backend.name} does not work with numpy {np.__version__}: pip install "
            f"'numpy<{backend.numpy_below}', or use litert"
        )


def _opt_out(backend: Backend) -> None:
    if backend.opt_out is not None:
        os.environ.setdefault(backend.opt_out, "1")


def _missing(backend: Backend, error: Exception) -> BackendError:
    if installed(backend):
        return BackendError(
            f"{backend.name} is broken here ({error}): "
            f"pip install --force-reinstall {backend.packages}"
        )
    return BackendError(f"{backend.name} is not installed: pip install {backend.packages}")

"""Which runtimes are installed here, whether they work, and which of them opens a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hemline.errors import BackendError, UnsupportedRuntimeError
from hemline.runtime.backends import (
    BACKENDS,
    Backend,
    find_backend,
    installed,
    require_numpy,
    require_working,
    version_of,
)

if TYPE_CHECKING:
    from hemline.contract.specs import Format
    from hemline.contract.stamp import Stamp


class FoundRuntime(NamedTuple):
    """A runtime whose package is installed here.

    backend: its row of the BACKENDS table.
    version: of its package; empty where it does not work.
    problem: why it does not work; None where it does.
    """

    backend: Backend
    version: str
    problem: BackendError | None = None

    @property
    def name(self) -> str:
        """Return the name in the BACKENDS table."""
        return self.backend.name


def discover(
    file_format: Format | None = None, *, in_process: bool = False
) -> Iterator[FoundRuntime]:
    """Yield the runtimes that are installed here, in the order of BACKENDS.

    Each is imported when it is asked for. `in_process` is for those that shall run in this process;
    otherwise they run in processes of their own, where nothing else is loaded. Runtimes of a
    development machine only come when their format is named.
    """
    for backend in installed_backends(file_format):
        yield _try(backend, in_process)


def installed_backends(file_format: Format | None = None) -> Iterator[Backend]:
    """Yield the rows of the runtimes that are installed here, none of them imported or tried."""
    return filter(installed, _asked_for(file_format))


def installed_names() -> tuple[str, ...]:
    """Return the names of the runtimes that are installed here."""
    return tuple(backend.name for backend in installed_backends())


def look_up(backend: Backend) -> FoundRuntime | None:
    """Return one runtime, to run in a process of its own; None where it is not installed."""
    return _try(backend, in_process=False) if installed(backend) else None


def _try(backend: Backend, in_process: bool) -> FoundRuntime:
    try:
        (require_working if in_process else require_numpy)(backend)
        return FoundRuntime(backend, version_of(backend))
    except BackendError as error:
        return FoundRuntime(backend, "", error)


def working(
    file_format: Format | None = None, *, in_process: bool = False
) -> Iterator[FoundRuntime]:
    """Yield the runtimes that work here, each tried when it is asked for.

    Raises BackendError at the end when there was none: why those that are installed do not work.
    """
    broken, any_works = [], False
    for found in discover(file_format, in_process=in_process):
        if found.problem is None:
            any_works = True
            yield found
        else:
            broken.append(str(found.problem))
    if not any_works:
        raise BackendError("; ".join(broken)) if broken else none_installed(file_format)


def working_or_warn() -> tuple[FoundRuntime, ...]:
    """Return the runtimes that work here in processes of their own; warn of those that do not.

    Raises BackendError when some are installed and none of them works.
    """
    import logging  # here, because a device that only classifies never needs it

    found = tuple(discover())
    problems = [each.problem for each in found if each.problem is not None]
    if found and len(problems) == len(found):
        raise BackendError("; ".join(map(str, problems)))
    for problem in problems:
        logging.getLogger(__name__).warning("%s; it is left out", problem)
    return tuple(each for each in found if each.problem is None)


def none_installed(file_format: Format | None) -> BackendError:
    """Return the error that no runtime of a format is installed, with the packages of those."""
    fitting = list(_asked_for(file_format))
    formats = " or ".join(dict.fromkeys(f".{backend.format}" for backend in fitting))
    packages = ", or ".join(f"pip install {backend.packages}" for backend in fitting)
    return BackendError(f"no runtime for {formats} files is installed: {packages}")


def _asked_for(file_format: Format | None) -> Iterator[Backend]:
    for backend in BACKENDS.values():
        if backend.format == file_format or (file_format is None and not backend.development_only):
            yield backend


def pick_backend(stamp: Stamp, runtime: str | None) -> Backend:
    """Return the backend to open a stamped file in.

    Raises UnsupportedRuntimeError for a runtime that the file does not support, BackendError when
    none works.
    """
    if runtime is not None:
        backend = find_backend(runtime)
        if backend.format != stamp.format:
            raise UnsupportedRuntimeError(
                f"{stamp.name} is a .{stamp.format} file: {runtime} cannot open it"
            )
        stamp.require_supported(backend.name, version_of(backend))
        return backend
    unsupported = []
    for found in working(stamp.format, in_process=True):
        if stamp.supports(found.name, found.version):
            return found.backend
        unsupported.append(found)
    stamp.require_supported(unsupported[0].name, unsupported[0].version)
    return unsupported[0].backend

"""Connect to a Ray cluster, or start one on this machine, and wait for what runs there.

Workers need the same Hemline as this process: `require_same` is for a task to call first.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hemline.errors import BackendError, HemlineError, JobError, UsageError, first_line, remedy
from hemline.folders import TemporaryFolder
from hemline.host import cores
from hemline.provenance import commit
from hemline.silence import noted
from hemline.version import VERSION

_OLDEST = (2, 40)  # of Ray: older ones were not tried
_ANSWER_SECONDS = 5.0  # Ray itself waits for three minutes, and then ends the process
_STORE_BYTES = 1 << 30  # of objects in shared memory, on this machine; more go to the disk
# of HTTP/2: what a client says first, with no settings, and the type of what every server answers
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
# Ray reports its use and logs what is of no use to the user, unless these say otherwise
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one task on a cluster occupies: cores, each of which runs one thread, and GPUs."""

    cpus: int = 1
    gpus: float = 0.0

    def __str__(self) -> str:
        text = f"{self.cpus} core{'s' * (self.cpus > 1)}"
        return f"{text} and {self.gpus:g} GPU{'s' * (self.gpus > 1)}" if self.gpus else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Ray cluster that this process is connected to.

    where: its address; empty for one on this machine that ends with the connection.
    """

    where: str

    def places(self, task: Resources) -> int:
        """Return how many such tasks run at once."""
        return sum(_places(node["Resources"], task) for node in _ray().nodes() if node["Alive"])

    def require(self, task: Resources) -> None:
        """Raise UsageError where no machine can run such a task."""
        if not self.places(task):
            raise UsageError(f"{self} has no machine with {task} for a task")

    def __str__(self) -> str:
        return f"the Ray cluster at {self.where}" if self.where else "Ray on this machine"


@contextlib.contextmanager
def connected(address: str, task: Resources) -> Iterator[Cluster]:
    """Connect to Ray in the block; every task there is to be of these resources.

    address: host:port, ray://host:port or auto (a cluster that runs on this machine); empty for
    what RAY_ADDRESS says, else for a cluster of this machine's cores that ends with the block.

    Raises BackendError when Ray is missing, too old or another one than the cluster's, UsageError
    for what is not an address, HemlineError when nothing answers there.
    """
    ray = _ray()
    address = address or os.environ.get("RAY_ADDRESS", "")
    if address:
        _require_answer(address)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with contextlib.ExitStack() as stack:
        options = _options(address, task, stack)
        stack.callback(ray.shutdown)  # before the folder is removed
        _connect(ray, address, options)
        yield Cluster(where=address)


def require_same(known: tuple[str, str | None]) -> None:
    """Raise HemlineError in a worker whose Hemline is not the one that asks: see `own`."""
    if own() != known:
        here, there = (" of commit ".join(filter(None, each)) for each in (own(), known))
        raise HemlineError(
            f"{socket.gethostname()} has Hemline {here}, and this is {there}: install the same "
            "one on all machines of the cluster"
        )


def own() -> tuple[str, str | None]:
    """Return the version and the commit of this process's Hemline."""
    return VERSION, commit()


def result_of(reference: Any) -> Any:
    """Return the result of a task when it has ended.

    Raises JobError when its worker was lost, HemlineError when it failed.
    """
    from ray import exceptions

    try:
        return _ray().get(reference)
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, HemlineError):
            raise error.cause from None
        kind = type(error.cause).__name__
        raise HemlineError(f"a Ray worker failed ({kind}: {first_line(error.cause)})") from error
    except exceptions.RayError as error:  # it was killed, or its machine is gone
        reason = first_line(error).partition(". ")[0]  # then come places of logs
        raise JobError(f"a Ray worker was lost ({reason})") from error


def _ray() -> ModuleType:
    """Return Ray; raises BackendError when it is missing or too old."""
    if importlib.util.find_spec("ray") is None:
        raise BackendError("Ray is not installed: pip install 'ray[data]' (extra ray)")
    try:
        import ray

        version = ray.__version__
    except (ImportError, AttributeError) as error:  # also of a folder `ray` that is another thing
        raise BackendError(f"Ray is broken here ({first_line(error)})") from error
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise BackendError(
            f"Ray {version} is too old ({oldest} or newer): pip install -U 'ray[data]' (extra ray)"
        )
    module: ModuleType = ray
    return module


def _options(address: str, task: Resources, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Return what Ray is connected with; `stack` removes the folder of a cluster here."""
    threads = {"TF_NUM_INTRAOP_THREADS": str(task.cpus), "TF_NUM_INTEROP_THREADS": "1"}
    common = {
        "runtime_env": {"env_vars": threads},
        "log_to_driver": False,
        "configure_logging": False,
    }
    if address:
        return {"address": address, **common}
    folder = TemporaryFolder()
    stack.callback(_remove, folder)
    here = {"num_cpus": cores(), "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    return {"address": "local", "_temp_dir": folder.name, **here, **common}


def _remove(folder: TemporaryFolder) -> None:
    with contextlib.suppress(OSError):  # a process of Ray still ends: the next folder removes it
        folder.cleanup()


def _connect(ray: ModuleType, address: str, options: dict[str, Any]) -> None:
    try:
        with noted(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**options)
            # prints paragraphs on each lost worker to stdout, where results go; no option does it
            ray._private.worker.print_to_stdstream = lambda *_, **__: None
    except (Exception, SystemExit) as error:  # the latter of a cluster that does not answer
        where = address or "this machine"
        reason = first_line(str(error)) if isinstance(error, Exception) else "no answer"
        if "ersion mismatch" in str(error):
            raise BackendError(f"Ray at {where} is another one ({reason})") from error
        raise HemlineError(f"Ray cannot be used at {where} ({reason})") from error


def _require_answer(address: str) -> None:
    """Raise HemlineError unless a server of gRPC answers at an address in time."""
    if address == "auto":
        return
    found = re.fullmatch(r"(?:ray://)?\[?([^/\s\]]+)\]?:(\d{1,5})", address)
    if found is None:
        raise UsageError(f"{address} is not an address of Ray: host:port or ray://host:port")
    try:
        with socket.create_connection((found[1], int(found[2])), _ANSWER_SECONDS) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.sendall(_HELLO)
            answer = b"" if os.environ.get("RAY_USE_TLS") == "1" else connection.recv(4)
    except (OSError, OverflowError) as error:
        raise _no_answer(address, first_line(error)) from error
    if answer and answer[3:] != bytes((_SETTINGS,)):
        raise _no_answer(address, "another program listens there")


def _no_answer(address: str, reason: str) -> HemlineError:
    return HemlineError(f"no Ray cluster at {address} ({reason})", remedy=remedy("ray address"))


def _places(has: dict[str, float], task: Resources) -> int:
    """Return how many tasks a machine with these resources runs at once."""
    places = int(has.get("CPU", 0.0) // task.cpus)
    return min(places, int(has.get("GPU", 0.0) // task.gpus)) if task.gpus else places

"""Run the service: its socket, its signals and its end."""

from __future__ import annotations

import resource
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from hemline.errors import BackendError, UsageError, remedy
from hemline.files import reason_of
from hemline.host import cores
from hemline.progress import say
from hemline.runtime.service.models import Served
from hemline.runtime.service.service import Limits, Service
from hemline.silence import silenced


def serve(paths: Sequence[Path], host: str, port: int, runtime: str | None, limits: Limits) -> None:
    """Serve artifacts until SIGTERM or SIGINT; what was accepted before is answered.

    Raises UsageError for artifacts of one name, BackendError for an address that cannot be used.
    """
    if len({path.resolve().name for path in paths}) < len(paths):
        raise UsageError("two artifacts have the same name: copy one under another name")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = f"port {port} of {host} cannot be used: {reason_of(error)}"
        raise BackendError(reason, remedy=remedy("other port")) from error
    with silenced():
        served = [Served(path, runtime, cores()) for path in paths]
    # 1,000 idle connections are more files than a process may open by default
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: None)  # uvicorn raises it again when it has ended
    threading.Thread(target=_watch, args=[served], daemon=True).start()
    app, seconds = Service(served, limits, cores()), limits.seconds + 1
    options = {"log_level": "warning", "access_log": False, "server_header": False}
    config = uvicorn.Config(app, **options, timeout_graceful_shutdown=seconds)
    at = f"http://{host}:{listening.getsockname()[1]}"
    say(f"serving {', '.join(each.name for each in served)} at {at}")
    uvicorn.Server(config).run([listening])


def _watch(served: Sequence[Served]) -> None:
    while True:
        time.sleep(0.5)
        for each in served:
            each.refresh()

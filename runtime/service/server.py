"""Run the service: its socket, its signals and its end."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from starlette.middleware.cors import CORSMiddleware

from hemline.contract.stamp import Stamp
from hemline.errors import BackendError, UsageError, remedy
from hemline.files import reason_of
from hemline.host import cores
from hemline.progress import say
from hemline.runtime.monitoring import Monitor
from hemline.runtime.service.models import Served
from hemline.runtime.service.open_inference import HEADER_SIZE
from hemline.runtime.service.service import Limits, Service
from hemline.runtime.similar.page_images import page_images
from hemline.silence import silenced


def serve(
    paths: Sequence[Path],
    host: str,
    port: int,
    runtime: str | None,
    limits: Limits,
    counting: Callable[[Stamp], Monitor] | None,
    origins: Sequence[str] = (),
    similar: Path | None = None,
) -> None:
    """Serve artifacts until SIGTERM or SIGINT; what was accepted before is answered.

    `counting` opens what counts the predictions of an artifact; pages of the `origins` may ask.
    `similar` is an index; the page of the artifact that made it shows its images.
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
        served = [Served(path, runtime, cores(), counting) for path in paths]
    if similar is not None:
        images = page_images(similar, [each.model.stamp for each in served])
        for one in served:
            one.similar = one.model.similar = images
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # the answer says what is wrong
    # 1,000 idle connections are more files than a process may open by default
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=[served, ended], daemon=True)
    watch.start()
    app: Any = Service(served, limits, cores())
    if origins:
        rules = {"allow_methods": ["GET", "POST"], "expose_headers": ["Retry-After", HEADER_SIZE]}
        app = CORSMiddleware(app, allow_origins=origins, allow_headers=["*"], **rules)
    seconds = limits.seconds + 1
    options = {"log_level": "warning", "access_log": False, "server_header": False}
    server = uvicorn.Server(uvicorn.Config(app, **options, timeout_graceful_shutdown=seconds))
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, server.handle_exit)  # uvicorn raises it again when it has ended
    shown = f"[{host}]" if ":" in host else host
    at = f"http://{shown}:{listening.getsockname()[1]}"
    say(f"serving {', '.join(f'{each.name} ({each.model.why})' for each in served)} at {at}")
    server.run([listening])
    ended.set()
    watch.join()
    with contextlib.ExitStack() as stack:  # one that cannot save keeps no other from it
        for monitor in [x for each in served for x in each.monitors.values()]:
            stack.callback(monitor.close)


def _watch(served: Sequence[Served], ended: threading.Event) -> None:
    while not ended.wait(0.5):
        for each in served:
            each.refresh()
            for monitor in each.monitors.values():
                monitor.save_when_due()

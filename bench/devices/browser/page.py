"""The page that makes a browser a device: it asks for jobs over HTTP and posts what came of them.

A result is a line of JSON with float32 values behind it. Addresses begin with a secret: nobody else
can ask.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files as resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hemline.closing import Closing
from hemline.errors import JobError
from hemline.files import parse_json

_POLL_SECONDS = 10.0
_END_SECONDS = 2.0  # for a page that is about to ask again
_LARGEST_BYTES = 1 << 30  # of a result: 60,000 images with 1,000 classes have a quarter of it
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # that nobody mistakes for another one
_TYPES = {".html": "text/html", ".css": "text/css", ".wasm": "application/wasm"}
_TYPES |= dict.fromkeys((".js", ".mjs"), "text/javascript")
_NOT_FOUND = b"<!doctype html><title>Not found</title><p>Open the address that the command printed."
# with these, the page has a finer clock
_ORIGIN = {"Opener": "same-origin", "Embedder": "require-corp"}
_HEADERS = {f"Cross-Origin-{whose}-Policy": policy for whose, policy in _ORIGIN.items()}


class PageServer(ThreadingHTTPServer):
    """Serves the page; that which was opened last runs one job at a time.

    It is told the whole state, so that a page that slept or was loaded anew misses nothing.

    path: of the page, which nobody can guess.
    browser: what the page says of its browser, JSON; empty until one is opened.
    seen: when the page asked last, by the monotonic clock.
    """

    daemon_threads = True

    def __init__(self, packages: Sequence[Path], host: str = "127.0.0.1") -> None:
        """Serve the files of npm packages too, on a free port."""
        super().__init__((host, 0), _Handler)
        self.path = f"/{''.join(secrets.choice(_LETTERS) for _ in range(10))}/"
        web = Path(str(resources("hemline.runtime"))) / "web"
        style = Path(str(resources("hemline"))) / "page.css"
        paths = [style, *(path for folder in (web, *packages) for path in folder.iterdir())]
        self.static = {path.name: path.read_bytes() for path in paths if path.suffix in _TYPES}
        self.static[""] = Path(__file__).with_name("page.html").read_bytes()
        self.contents: dict[str, bytes] = {}
        self.browser, self.seen = "", 0.0
        self._state: dict[str, Any] = {"id": 0, "ended": []}  # and the job that is under way
        self._page, self._result, self._changed = "", b"", threading.Condition()
        self._last, self._is_closed = "", False  # the page that is to be told of the end
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def run(self, job: dict[str, Any], seconds: float, check: Callable[[], None]) -> bytes:
        """Return what the page posts; raises JobError without it, or whatever `check` raises."""
        with self._changed:
            self._result = b""
            self._tell(job)
        self.wait(lambda: bool(self._result), seconds, check)
        return self._result

    def wait(self, until: Callable[[], bool], seconds: float, check: Callable[[], None]) -> None:
        """Wait for the browser and call `check` meanwhile; raises JobError after so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._is_closed:
            with self._changed:
                if self._changed.wait_for(until, 0.1):
                    return
            check()
        raise JobError(f"the browser returned no result in {seconds:g} s")

    def end(self, runner: int) -> None:
        """Let the page end the worker of a runner, whatever it does."""
        with self._changed:
            self._state["ended"].append(runner)
            self._tell({})

    def close(self) -> None:
        """Tell the page that this is the end, and serve no longer; from any thread."""
        with self._changed:
            self._last, self._page, self._is_closed = self._page, "", True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._last, _END_SECONDS)
        self.shutdown()
        self.server_close()

    def state(self, page: str, known: str, browser: str = "") -> bytes | None:
        """Return the state when it differs from what a page knows; None for a former page."""
        with self._changed:
            if browser:
                self._page, self.browser = page, unquote(browser)
                self._changed.notify_all()
            self.seen = time.monotonic()
            news = lambda: page != self._page or known != str(self._state["id"])  # noqa: E731
            self._changed.wait_for(news, _POLL_SECONDS)
            return json.dumps(self._state).encode() if page == self._page else None

    def told_of_the_end(self, page: str) -> None:
        """Note that a page knows that it is not the device any more."""
        with self._changed:
            if page == self._last:
                self._last = ""
                self._changed.notify_all()

    def keep(self, asked: list[str], result: bytes) -> None:
        """Keep the result of a page and a job; of others than the present ones, do nothing."""
        with self._changed:
            if asked == [self._page, str(self._state["id"])] and "runner" in self._state:
                self._result = result
                self._state = {name: self._state[name] for name in ("id", "ended")}
                self._changed.notify_all()

    def handle_error(self, *_: object) -> None:
        """Say nothing: a browser may leave at any time."""

    def _tell(self, job: dict[str, Any]) -> None:
        self._state = {**job, "id": self._state["id"] + 1, "ended": self._state["ended"]}
        self._changed.notify_all()


class Page(Closing):
    """A worker of a page, whose `close` may be called twice."""

    def __init__(self, server: PageServer, runner: int) -> None:
        self.server, self._runner = server, runner

    def run(
        self, job: dict[str, Any], contents: dict[str, bytes], seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """Return facts and values; raises HemlineError without any in time, and ends the worker."""
        self.server.contents = contents
        try:
            result = self.server.run({**job, "runner": self._runner}, seconds, self.check)
        except JobError:
            self.close()  # what hangs would slow down the others
            raise
        line, _, values = result.partition(b"\n")
        return parse_json(line, where="the result of the browser"), values

    def check(self) -> None:
        """Raise JobError when no result will come any more."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    server: PageServer

    def do_GET(self) -> None:
        name, query = self._asked()
        if name == "state":
            state = self.server.state(*query)
            try:
                return self._reply(410 if state is None else 200, state or b"")
            finally:  # also where the browser has gone
                if state is None:
                    self.server.told_of_the_end(query[0])
        if f"{self.path}/" == self.server.path:  # as somebody may type it
            return self._reply(308, b"", location=self.server.path)
        content = self.server.contents.get(name, self.server.static.get(name))
        keep = "max-age=86400" if name in self.server.static else "no-store"
        if content is None:
            return self._reply(404, _NOT_FOUND)
        return self._reply(200, content, name, cache_control=keep)

    def do_POST(self) -> None:
        name, query = self._asked()
        size = int(self.headers["Content-Length"])
        is_wanted = name == "result" and 0 <= size <= _LARGEST_BYTES  # nothing else is read
        content = self.rfile.read(size) if is_wanted else b""
        self.close_connection = not is_wanted or len(content) < size
        if not self.close_connection:
            self.server.keep(query, content)
        self._reply(404 if self.close_connection else 200, b"")

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _asked(self) -> tuple[str, list[str]]:
        """Return what is asked for behind the secret, "?" for anything else, and the query."""
        path, _, query = self.path.partition("?")
        own = self.server.path
        return path.removeprefix(own) if path.startswith(own) else "?", query.split("&")

    def _reply(self, status: int, body: bytes, name: str = "", **more: str) -> None:
        kind = _TYPES.get(Path(name or "page.html").suffix, "application/octet-stream")
        self.send_response(status)
        headers = {"content_type": kind, "content_length": str(len(body))}
        for header, value in {**_HEADERS, **headers, "cache_control": "no-store", **more}.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

"""A page in a Chromium of its own: it gets jobs over HTTP on the loopback, and ends with its owner.

It asks for the next job and waits, fetches what that names, and posts a line of JSON with float32
values behind it. Addresses begin with a secret: other users of the machine cannot ask.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import subprocess
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files as resources
from pathlib import Path

from hemline.child_process import StderrTail, how_it_ended
from hemline.closing import Closing
from hemline.errors import JobError
from hemline.folders import TemporaryFolder

_STOP_SECONDS = 5.0
_PAGE = b'<!doctype html><title>Hemline</title><script type="module" src="worker.js"></script>'
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
# with these, the page has a finer clock
_ORIGIN = {"Opener": "same-origin", "Embedder": "require-corp"}
_HEADERS = {f"Cross-Origin-{whose}-Policy": policy for whose, policy in _ORIGIN.items()}
# the browser has its pipe at 3 and 4, and ends with it; containers have little shared memory
_START = ("sh", "-c", 'exec "$@" 3<&0 4>/dev/null', "sh")
_OPTIONS = ("--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-extensions")
_MORE = ("--disable-background-networking", "--disable-dev-shm-usage")


class Page(Closing):
    """Runs one job at a time."""

    def __init__(self, program: Path, package: Path, options: Sequence[str]) -> None:
        """Start Chromium with further options; `package` has the files of a runtime."""
        web = Path(str(resources("hemline.runtime"))) / "web"
        self._server = _Server((web, package))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._profile = TemporaryFolder()
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # which does not work for root
        address = f"http://127.0.0.1:{self._server.server_port}{self._server.secret}"
        profile = f"--user-data-dir={self._profile.name}"
        self.child = subprocess.Popen(
            [*_START, str(program), *_OPTIONS, *_MORE, *root, *options, profile, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._stderr = StderrTail(self.child.stderr)

    def run(self, job: object, contents: dict[str, bytes], seconds: float) -> tuple[bytes, bytes]:
        """Return the line and the values that the page posts; raises JobError without any."""
        self._server.contents.update(contents, job=json.dumps(job).encode())
        self._server.jobs.put(None)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                line, _, values = self._server.results.get(timeout=0.1).partition(b"\n")
                return line, values
            if (code := self.child.poll()) is not None:
                raise JobError(f"the browser ended {how_it_ended(code, self._stderr.text())}")
        self.child.kill()
        raise JobError(f"the browser returned no result in {seconds:g} s")

    def close(self) -> None:
        """End the browser, by force if need be."""
        if self.child.stdin is not None:
            self.child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(_STOP_SECONDS)
        self.child.kill()
        self.child.wait()
        self._server.jobs.put(None)  # a request may still wait for one
        self._server.shutdown()
        self._server.server_close()
        self._profile.cleanup()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secret = f"/{secrets.token_urlsafe(12)}/"
        files = (path for folder in folders for path in folder.iterdir())
        self.contents = {"": _PAGE} | {path.name: path.read_bytes() for path in files}
        self.jobs: queue.Queue[None] = queue.Queue()
        self.results: queue.Queue[bytes] = queue.Queue()

    def handle_error(self, *_: object) -> None:
        """Say nothing: a browser may end at any time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        name = self.path.removeprefix(self.server.secret)
        if name == "job":
            self.server.jobs.get()
        if name not in self.server.contents:
            return self.send_error(404)
        return self._reply(self.server.contents[name], _TYPES.get(Path(name).suffix, "text/html"))

    def do_POST(self) -> None:
        if self.path != f"{self.server.secret}result":
            self.close_connection = True
            return self.send_error(404)
        self.server.results.put(self.rfile.read(int(self.headers["Content-Length"])))
        return self._reply(b"", "text/plain")

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        facts = {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in {**_HEADERS, **facts}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

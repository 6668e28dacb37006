"""The HTTP service against what it is made of, replacements under load, memory over many requests.

A route of FastAPI that only reads the same body, and classify and classify_batch in this process:
processor time of each, since client and server share a small machine's cores.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from measurement import BUNDLE, Result, interleaved, median_ratio, report

from hemline.contract.stamp import read_stamped
from hemline.folders import TemporaryFolder
from hemline.runtime import Classifier

Address = tuple[int, int]  # the port of a server and its process id

_ROUNDS = 21
_SECONDS = 0.2  # of a burst
_REQUESTS = 1_000_000  # over which the memory is steady
_CONNECTIONS = 8  # at the highest rate
_REPLACEMENTS, _RATE = 20, 200  # requests a second
_SERVE = (str(Path(sys.executable).with_name("hemline")), "serve")
_SINGLE, _OF_8, _OF_64, _GROWTH = 1.3, 0.6, 0.85, 1.02
_EMPTY = """
import socket, uvicorn
from fastapi import FastAPI, Request, Response
app = FastAPI()
async def empty(request: Request) -> Response:
    return Response(b"%d" % len(await request.body()))
app.add_api_route("/classify", empty, methods=["POST"])
listening = socket.create_server(("127.0.0.1", 0))
print("at http://127.0.0.1:%d" % listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listening])
"""


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int, images: np.ndarray) -> None:
        body = np.ascontiguousarray(images).tobytes()
        kind = "Content-Type: application/octet-stream"
        head = (
            f"POST /classify HTTP/1.1\r\nHost: a\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> None:
        """Send the request once and read the whole response."""
        self.send()
        self.receive()

    def send(self) -> None:
        """Send the request once."""
        self._socket.sendall(self._request)

    def receive(self) -> None:
        """Read a whole response."""
        received = self._socket.recv(1 << 20)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._socket.recv(1 << 20)
        found = re.search(rb"content-length: (\d+)", received)
        if found is None or not received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(received.decode(errors="replace"))
        missing = end + 4 + int(found[1]) - len(received)
        while missing > 0:
            missing -= len(self._socket.recv(1 << 20))


class Clients:
    """Connections whose requests wait for the server: it is never idle, as at its highest rate."""

    def __init__(self, port: int, images: np.ndarray) -> None:
        self._all = deque(Client(port, images) for _ in range(_CONNECTIONS))
        for each in self._all:
            each.send()

    def ask(self) -> None:
        """Read the oldest response and send another request."""
        self._all[0].receive()
        self._all[0].send()
        self._all.rotate(-1)

    def end(self) -> None:
        """Read what is left."""
        for each in self._all:
            each.receive()


@contextlib.contextmanager
def running(*command: str) -> Iterator[Address]:
    """Yield (port, process id) of a server that prints its address."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert child.stdout is not None
        found = re.search(r"http://127.0.0.1:(\d+)", child.stdout.readline())
        if found is None:
            raise RuntimeError("the server did not start")
        yield int(found[1]), child.pid
    finally:
        child.terminate()
        child.wait()


def server_us(process: int, client: Client | Clients) -> float:
    """Return the processor time of a server for a request, all its threads, in a short burst."""

    def used() -> int:
        threads = Path(f"/proc/{process}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads)

    before = used()
    calls = repeated(client.ask)
    return (used() - before) / calls / 1000


def own_us(call: Callable[[], object]) -> float:
    """Return the processor time of a call in this process."""
    before = time.process_time_ns()
    calls = repeated(call)
    return (time.process_time_ns() - before) / calls / 1000


def repeated(call: Callable[[], object]) -> int:
    """Repeat a call for a short burst; return how often."""
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        call()
        calls += 1
    return calls


def single(served: Address, empty: Address, images: np.ndarray, classifier: Classifier) -> Result:
    """Measure one raw image against an empty route and the classification."""
    ours, bare = Client(served[0], images[:1]), Client(empty[0], images[:1])

    def parts() -> float:
        return server_us(empty[1], bare) + own_us(lambda: classifier.classify(images[0]))

    parts(), server_us(served[1], ours)  # warm
    a, b = interleaved(lambda: server_us(served[1], ours), parts, _ROUNDS)
    ratio = median_ratio(a, b)
    return Result(
        claim=f"serve, one raw image: at most {_SINGLE} × (an empty route + the classification)",
        value=ratio,
        unit="×",
        met=ratio <= _SINGLE,
        detail=f"{statistics.median(a):.0f} µs, its parts {statistics.median(b):.0f} µs",
    )


def batches(served: Address, images: np.ndarray, classifier: Classifier, limit: float) -> Result:
    """Measure the rate of raw batches against classify_batch."""
    ours, count = Clients(served[0], images), len(images)

    def bare() -> float:
        return own_us(lambda: classifier.classify_batch(images))

    bare(), server_us(served[1], ours)  # warm
    a, b = interleaved(lambda: server_us(served[1], ours), bare, _ROUNDS)
    ours.end()
    ratio = median_ratio(b, a)
    each, alone = statistics.median(a) / count, statistics.median(b) / count
    return Result(
        claim=f"serve, raw batches of {count}: at least {limit} × the rate of classify_batch",
        value=ratio,
        unit="×",
        met=ratio >= limit,
        detail=f"{each:.0f} µs an image, classify_batch {alone:.0f} µs",
    )


def resident_bytes(process: int) -> int:
    """Return the resident memory of a process on Linux."""
    text = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(re.findall(r"VmRSS:\s+(\d+)", text)[0])


def memory(served: Address, images: np.ndarray, requests: int) -> Result:
    """Measure how much the memory grows after a tenth of many requests of one image."""
    port, process = served
    client = Client(port, images[:1])
    for _ in range(requests // 10):
        client.ask()
    before = resident_bytes(process)
    for _ in range(requests - requests // 10):
        client.ask()
    after = resident_bytes(process)
    return Result(
        claim=f"serve: memory over {_REQUESTS:,} requests grows to at most {_GROWTH} ×",
        value=after / before,
        unit="×",
        met=after / before <= _GROWTH and requests >= _REQUESTS,
        detail=f"{before / 1e6:.1f} MB, then {after / 1e6:.1f} MB after {requests:,} requests",
    )


class Load:
    """Requests at a steady rate over several connections, each in its time or as soon after it."""

    def __init__(self, port: int, images: np.ndarray) -> None:
        self.sent, self.lost, self.longest, self._ended = 0, 0, 0.0, threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[Client(port, images), number])
            for number in range(_CONNECTIONS)
        ]
        self._started = time.perf_counter()
        for each in self._threads:
            each.start()

    def end(self) -> float:
        """Return the requests a second."""
        self._ended.set()
        for each in self._threads:
            each.join()
        return self.sent / (time.perf_counter() - self._started)

    def _run(self, client: Client, number: int) -> None:
        while not self._ended.is_set():
            due = self._started + number / _RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            number += _CONNECTIONS
            begun = time.perf_counter()
            try:
                client.ask()
            except (OSError, RuntimeError):
                self.lost += 1
            self.sent += 1
            self.longest = max(self.longest, time.perf_counter() - begun)


def replacements(images: np.ndarray) -> Result:
    """Replace an artifact again and again under load."""
    files = [BUNDLE / "int8.tflite", BUNDLE / "fp32.tflite"]
    with TemporaryFolder() as folder:
        served = shutil.copy(files[0], Path(folder) / "model.tflite")
        with running(*_SERVE, str(served), "--port", "0") as (port, _):
            load = Load(port, images[:1])
            for number in range(_REPLACEMENTS):
                file = files[(number + 1) % 2]
                shutil.copy(file, Path(folder) / "new").replace(served)
                while read_stamped(file).stamp.payload_sha256 != digest(port):
                    time.sleep(0.05)
            rate = load.end()
    return Result(
        claim=f"serve: {_REPLACEMENTS} replacements at {_RATE} requests/s lose no request",
        value=load.lost,
        unit="",
        met=load.lost == 0 and rate >= 0.95 * _RATE,
        detail=f"{load.sent:,} requests, {rate:.0f} /s, the longest {1000 * load.longest:.0f} ms",
    )


def digest(port: int) -> str:
    """Return the hash of the only artifact that is served."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", "/health")
        (model,) = json.load(connection.getresponse())["models"].values()
        return str(model["sha256"])


def main() -> None:
    """Measure everything and write the results; a number of requests may be given."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else _REQUESTS
    images = np.load(BUNDLE / "evaluation" / "test-images.npy")[:64]
    with (
        Classifier.load(BUNDLE) as classifier,
        running(*_SERVE, str(BUNDLE), "--port", "0") as served,
        running(sys.executable, "-c", _EMPTY) as empty,
    ):
        results = [
            single(served, empty, images, classifier),
            batches(served, images[:8], classifier, _OF_8),
            batches(served, images, classifier, _OF_64),
            replacements(images),
            memory(served, images, requests),
        ]
    report("serve", results)


if __name__ == "__main__":
    main()

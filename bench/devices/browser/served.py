"""Any browser that opens an address as a device: of this machine, a phone, a tablet."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time

from hemline.bench.devices.browser.device import BrowserDevice, BrowserRunner
from hemline.bench.devices.browser.page import Page, PageServer
from hemline.contract.job import HostFacts
from hemline.errors import DeviceError, JobError
from hemline.files import parse_json
from hemline.npm_packages import FILES, fetched
from hemline.progress import say

_SERVE = "serve"
_OPEN_SECONDS = 600.0  # for somebody who types an address into a phone
_SILENT_SECONDS = 30.0  # a page asks every 10 s
_LOST_SECONDS = 300.0
_LONGEST = 500  # of what a browser says of itself
_ALL_SAY = {"Mozilla", "AppleWebKit", "Gecko", "Mobile", "Safari"}


def open_browser(address: str) -> BrowserDevice:
    """Return Chromium, the program at a path, or whatever browser opens the page; all take :gpu."""
    rest, _, last = address.rpartition(":")
    name, gpu = (rest, True) if last == "gpu" else (address, False)
    return ServedDevice(gpu=gpu) if name == _SERVE else BrowserDevice(name, gpu=gpu)


class ServedDevice(BrowserDevice):
    """The browser that opens the page."""

    place = f"browser:{_SERVE}"

    def __init__(self, *, gpu: bool) -> None:
        self.name, self.gpu = f"{self.place}:gpu" if gpu else self.place, gpu
        self._server: PageServer | None = None
        self._numbers = itertools.count(1)

    def open(self, runtime: str, version: str) -> BrowserRunner:
        """Prepare a worker of the page; raises DeviceError when nobody opens it."""
        del runtime
        return BrowserRunner(self, ServedPage(self._opened(), next(self._numbers)), version)

    def host(self) -> HostFacts:
        """Return what the page says of its browser and its machine."""
        return _host(self._opened().browser)

    def close(self) -> None:
        """Let the browser go."""
        if self._server is not None:
            self._server.close()

    interrupt = close

    def _opened(self) -> PageServer:
        if self._server is None:
            packages = [fetched(name) for name in FILES]
            server = self._server = PageServer(packages, "0.0.0.0")  # noqa: S104 — for phones
            page = f"{server.server_port}{server.path}"
            own = f"http://{_own_address()}:{page}"
            say(f"open {own} in the browser to measure, on this machine http://localhost:{page}")
            try:
                server.wait(lambda: bool(server.browser), _OPEN_SECONDS, lambda: None)
            except JobError as error:
                raise DeviceError(f"no browser opened {own} in {_OPEN_SECONDS:g} s") from error
            say(f"{self.name}: {_host(server.browser).name}")
        return self._server


class ServedPage(Page):
    """A worker of the page; who reads progress is asked for a page that is silent."""

    _is_silent = False

    def check(self) -> None:
        """Raise DeviceError when the page is silent for long."""
        silent_seconds = time.monotonic() - self.server.seen
        if silent_seconds > _LOST_SECONDS:
            raise DeviceError("the page was closed, or its device slept")
        was_silent, self._is_silent = self._is_silent, silent_seconds > _SILENT_SECONDS
        if self._is_silent and not was_silent:
            say("the browser is silent: bring its page to the front, or open it again")

    def close(self) -> None:
        """End the worker."""
        self.server.end(self._runner)


def _host(browser: str) -> HostFacts:
    facts = parse_json(browser, where="what the browser says of itself")
    agent, gpu = (
        "".join(c for c in str(facts[name])[:_LONGEST] if c.isprintable())
        for name in ("agent", "gpu")
    )
    products = [each for each in re.findall(r"(\w+)/(\d+)", agent) if each[0] not in _ALL_SAY]
    machine = [agent.partition("(")[2].partition(")")[0], gpu]
    return HostFacts(
        machine="browser",
        processor=", ".join(filter(None, machine)),
        cores=int(facts["cores"]),
        system=" ".join(map(" ".join, products)).replace("Version", "Safari"),
    )


def _own_address() -> str:
    """Return the address of this machine in its network; no packet is sent for that."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # reserved for documentation (RFC 5737)
        return str(probe.getsockname()[0])

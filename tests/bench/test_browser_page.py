"""The server of the page that makes a browser a device, without a browser."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator

import pytest

from hemline.bench.devices.browser.page import PageServer


@pytest.fixture
def server() -> Iterator[PageServer]:
    opened = PageServer(())
    yield opened
    opened.close()


def ask(server: PageServer, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request("GET", server.path + path)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def test_a_page_that_is_about_to_ask_again_is_told_of_the_end(server: PageServer) -> None:
    status, state = ask(server, "state?page&-1&%7B%7D")
    assert (status, json.loads(state)) == (200, {"id": 0, "ended": []})
    closing = threading.Thread(target=server.close)
    closing.start()
    time.sleep(0.2)  # in which the page reads the state
    assert ask(server, "state?page&0")[0] == 410
    closing.join()


@pytest.mark.parametrize(
    ("path", "size"), [("/result", 1 << 29), ("{secret}state", 5), ("{secret}result", -1)]
)
def test_what_nobody_asked_for_is_refused_unread(server: PageServer, path: str, size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.putrequest("POST", path.format(secret=server.path))
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    assert connection.getresponse().status == 404
    connection.close()


def test_an_address_that_was_typed_wrongly_leads_on(server: PageServer) -> None:
    for path, status, location, body in (
        (server.path.rstrip("/"), 308, server.path, b""),
        (server.path[:-2], 404, None, b"Open the address that the command printed."),
        ("/", 404, None, b"Open the address that the command printed."),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        assert (response.status, response.getheader("Location")) == (status, location)
        assert response.getheader("Content-Type") == "text/html"
        assert response.read().endswith(body)
        connection.close()

"""From what ssh prints when it fails to one line with the remedy."""

from __future__ import annotations

import re

from hemline.bench.devices.device import LostError
from hemline.bench.devices.ssh.address import SshAddress
from hemline.bench.devices.ssh.untrusted import plain
from hemline.errors import DeviceError

# a connection that is cut while it is made; in the middle of it ssh says nothing
_CUT = re.compile(r"Connection (closed|reset)|Broken pipe|^\s*$")
# first match wins: (what ssh prints, message); the first three do not change by waiting
_LASTING = 3
_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"HOST IDENTIFICATION HAS CHANGED",
        "the host key of {host} has changed: if the board was set up again, run `ssh-keygen -R "
        "'{known_as}'` and `{by_hand}` once; if not, another machine is answering",
    ),
    (
        r"host key is known for|Host key verification failed",
        "the host key of {host} is unknown: run `{by_hand}` once, compare the fingerprint it "
        "shows with the board's own, and answer yes",
    ),
    (
        r"Permission denied",
        "{host} rejects this user without a password: install your key once with `{copy_id}`, and "
        "load a key with a passphrase into ssh-agent",
    ),
    (
        r"Could not resolve hostname",
        "the name {host} does not resolve: check its spelling, and whether the board is on",
    ),
    (
        r"Connection refused",
        "{host} is reachable, but has no ssh server: enable ssh there, and check the port",
    ),
    (
        r"timed out|No route to host|Network is unreachable|Host is down",
        "{host} does not answer: check whether the board is on and in this network",
    ),
)


def failure(said: str, address: SshAddress, *, reached: bool = False) -> DeviceError:
    """Return the error for what ssh printed while it connected.

    It is a LostError where the board may answer later: it was `reached` before, or answered now.
    """
    for at, (pattern, text) in enumerate(_KNOWN):
        if re.search(pattern, said):
            by_hand = address.by_hand
            kind = LostError if reached and at >= _LASTING else DeviceError
            return kind(
                text.format(
                    host=address.host,
                    known_as=address.known_as,
                    by_hand=by_hand,
                    copy_id=by_hand.replace("ssh", "ssh-copy-id", 1),
                )
            )
    kind = LostError if reached or _CUT.search(said) else DeviceError
    return kind(f"ssh cannot connect to {address} ({last_line(said)}): try `{address.by_hand}`")


def last_line(said: str) -> str:
    """Return the last line that was printed, made plain."""
    lines = [line for line in said.splitlines() if line.strip()]
    return plain(lines[-1], 300) if lines else "it gave no reason"

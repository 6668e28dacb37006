"""Where a device is reached over ssh: user, host and port, taken apart and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hemline.errors import UsageError

# What may stand in a command line and in a user's own ProxyCommand without any quoting.
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?")
_LONGEST = 255  # of a host name


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAddress:
    """Where ssh goes.

    user: to log in as; None for the one in the user's ssh configuration.
    host: name, address or alias in the user's ssh configuration.
    port: None for the one in the user's ssh configuration.
    """

    user: str | None
    host: str
    port: int | None

    def __str__(self) -> str:
        user = "" if self.user is None else f"{self.user}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{user}{host}{port}"

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words that give ssh this address."""
        port = () if self.port is None else ("-p", str(self.port))
        user = () if self.user is None else ("-l", self.user)
        return (*port, *user, "--", self.host)

    @property
    def by_hand(self) -> str:
        """Return the command that a user types to log in."""
        port = "" if self.port is None else f"-p {self.port} "
        user = "" if self.user is None else f"{self.user}@"
        return f"ssh {port}{user}{self.host}"

    @property
    def known_as(self) -> str:
        """Return what the host is called in a file of known hosts."""
        return self.host if self.port in (None, 22) else f"[{self.host}]:{self.port}"


def parse_address(text: str) -> SshAddress:
    """Return the address in `[user@]host[:port]`; an IPv6 address stands in brackets.

    Raises UsageError for anything else, names with blanks, quotes or a leading dash included.
    """
    before, at, place = text.rpartition("@")
    user = before if at else None
    bracketed = re.fullmatch(r"\[([^]]*)\](?::([0-9]+))?", place)
    found = bracketed or re.fullmatch(r"([^:]*)(?::([0-9]+))?", place)
    host, port = found.groups() if found else ("", None)
    good = (
        bool(_HOST.fullmatch(host)) and len(host) <= _LONGEST and (":" in host) <= bool(bracketed)
    )
    good = good and (user is None or (bool(_USER.fullmatch(user)) and len(user) <= _LONGEST))
    if not good or (port is not None and not 1 <= int(port[:6]) <= 65535):
        raise UsageError(
            f"{text!r} is not an address: write it as ssh:user@host or ssh:user@host:port"
        )
    return SshAddress(user=user, host=host, port=None if port is None else int(port))

"""A network between this machine and boards on loopback ports that delays, cuts, stalls, refuses.

Faults come after so many bytes towards a board, so that they do not depend on how fast it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

_CHUNK_BYTES = 1 << 14
Kind = Literal["cut", "reboot", "stall"]


class Fault(NamedTuple):
    """What happens after so many bytes towards the board.

    kind: cut ends all connections; reboot ends them and refuses new ones for so many seconds; stall
        lets nothing through for so long, and then ends them.
    """

    kind: Kind
    after_bytes: int
    seconds: float = 0.0


@dataclass(eq=False, kw_only=True)
class Way:
    """A loopback port that leads to the one of a board.

    to: port of the board.
    delay_seconds: of whatever comes after a pause, in each direction.
    faults: still to come, in the order of their bytes.
    happened: faults that came.
    """

    to: int
    delay_seconds: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    happened: list[Fault] = field(default_factory=list)
    port: int = 0
    sent: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _passing: asyncio.Event = field(default_factory=asyncio.Event)

    async def lay(self) -> None:
        """Listen, on the same port as before."""
        self._passing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """End all connections."""
        for end in self._open:
            end.transport.abort()
        self._open.clear()

    def close(self) -> None:
        """Listen no more, and end all connections."""
        if self._server is not None:
            self._server.close()
        self.cut()

    async def _accept(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far, there = await asyncio.open_connection("127.0.0.1", self.to)
            self._open |= {back, there}
            forth = self._carry(near, there, towards=True)
            await asyncio.gather(forth, self._carry(far, back, towards=False))

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, towards: bool
    ) -> None:
        last = 0.0
        with contextlib.suppress(OSError):
            while chunk := await source.read(_CHUNK_BYTES):
                if time.monotonic() - last > self.delay_seconds:  # of a stream, the first one waits
                    await asyncio.sleep(self.delay_seconds)
                last = time.monotonic()
                await self._passing.wait()
                target.write(chunk)
                await target.drain()
                if towards:
                    self.sent += len(chunk)
                    await self._fail()
        target.close()
        self._open.discard(target)

    async def _fail(self) -> None:
        """Let the next fault happen, if it is its turn."""
        if not self.faults or self.sent < self.faults[0].after_bytes:
            return
        fault = self.faults.pop(0)
        self.happened.append(fault)
        if fault.kind == "stall":
            self._passing.clear()
            await asyncio.sleep(fault.seconds)
            self._passing.set()
        self.cut()
        if fault.kind == "reboot":
            assert self._server is not None
            self._server.close()
            asyncio.get_running_loop().call_later(
                fault.seconds, lambda: asyncio.ensure_future(self.lay())
            )


@contextlib.contextmanager
def laid(ways: Sequence[Way]) -> Iterator[None]:
    """Carry what goes these ways, in a thread, until the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        for way in ways:
            asyncio.run_coroutine_threadsafe(way.lay(), loop).result()
        yield
    finally:
        for way in ways:
            loop.call_soon_threadsafe(way.close)
        asyncio.run_coroutine_threadsafe(_ended(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ended() -> None:
    """Cancel what still carries, and wait for its end."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)

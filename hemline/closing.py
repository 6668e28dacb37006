"""What has to be closed, and is at the end of a `with` block."""

from __future__ import annotations

from typing import TypeVar

C = TypeVar("C", bound="Closing")


class Closing:
    """Something with a `close`."""

    def close(self) -> None:
        """Give up what it holds."""
        raise NotImplementedError

    def __enter__(self: C) -> C:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()

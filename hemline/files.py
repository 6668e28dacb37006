"""Write files whole or not at all, and know them by their content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hemline.errors import BusyError, FileFormatError, HemlineError, StorageError

_CHUNK_BYTES = 1 << 20
_PARTIAL = ".hemline-partial-"  # in the name of a file that is being written
_LOCK = ".lock"
_LOCK_AGAIN_SECONDS = 0.05
_NUMBERS = r"\[\s[-+.,\seE\d]+\]"
_UMASK = os.umask(0o077)  # it can only be read by setting it: once, before there are threads
os.umask(_UMASK)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` only if the block succeeds.

    Raises StorageError, naming the file, when the folder cannot be written.
    """
    import tempfile  # here, because a device that only classifies writes nothing

    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            prefix=f".{path.name}{_PARTIAL}", suffix=path.suffix, dir=path.parent
        )
        os.close(descriptor)
        partial = Path(name)
        yield partial
        partial.chmod(0o666 & ~_UMASK)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {reason_of(error)}") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all; to a device or a pipe as it is."""
    if not path.exists() or path.is_file():
        with replacing(path) as partial:
            partial.write_bytes(content)
        return
    try:  # which a file must not take the place of
        path.write_bytes(content)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {reason_of(error)}") from error


def write_json(path: Path, document: Any) -> None:
    """Write indented JSON to `path` whole or not at all; a list of numbers takes one line."""
    text = json.dumps(document, indent=1, allow_nan=False)
    text = re.sub(_NUMBERS, lambda found: " ".join(found[0].split()), text)
    write_bytes(path, f"{text}\n".encode())


def read_bytes(path: Path) -> bytes:
    """Read a file; raise FileFormatError in one line when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"cannot read {path}: {reason_of(error)}") from error


def read_json(path: Path) -> Any:
    """Read JSON; raise FileFormatError when the file cannot be read or is not JSON."""
    return parse_json(read_bytes(path), where=str(path))


def parse_json(content: bytes | str, *, where: str) -> Any:
    """Parse strict JSON (no NaN, no infinities); `where` names the source in the error."""
    try:
        return json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where} is not valid JSON ({error}): create it again") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise FileFormatError(f"cannot read {path}: {reason_of(error)}") from error
    return digest.hexdigest()


def reason_of(error: OSError) -> str:
    """Return the reason of the system in lower case, for the end of a message."""
    return (error.strerror or str(error)).lower()


def fingerprint(document: Any) -> str:
    """Return the SHA-256 of a JSON-like value, the same for equal values in any key order."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextlib.contextmanager
def locked(folder: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold `folder` for this process alone; raise BusyError when another one holds it.

    wait_seconds: how long to wait for that one.
    What a killed process left half-written in there is removed, and a folder that was made for
    nothing, because the block failed before it wrote anything.
    """
    try:
        made = not folder.exists()
    except OSError as error:  # a folder above it may not be read
        raise HemlineError(f"cannot write to {folder}: {reason_of(error)}") from error
    with _lock(folder, time.monotonic() + wait_seconds):
        _remove_partial(folder)
        try:
            yield
        finally:
            if made:
                _remove_unused(folder)


@contextlib.contextmanager
def _lock(folder: Path, deadline: float) -> Iterator[None]:
    import fcntl  # here, because a device that only classifies need not have it

    path = folder / _LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stream = path.open("a")
        except OSError as error:
            raise HemlineError(f"cannot write to {folder}: {reason_of(error)}") from error
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise HemlineError(f"cannot lock {folder}: {reason_of(error)}") from error
                if time.monotonic() < deadline:
                    time.sleep(_LOCK_AGAIN_SECONDS)
                    continue
                raise BusyError(
                    f"another hemline command is using {folder}: wait for it to end"
                ) from error
            if _is_at(path, stream.fileno()):  # else its folder was removed since it was opened
                yield
                return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _remove_unused(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another process wrote something there
        if [each.name for each in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()


def _remove_partial(folder: Path) -> None:
    for depth in ("", "*/"):  # a bundle and a checkpoint have one level of folders below them
        for abandoned in folder.glob(f"{depth}.*{_PARTIAL}*"):
            with contextlib.suppress(OSError):  # it is tried again next time
                abandoned.unlink()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large for a number")
    return value

"""What runs on a board: this file's source is sent there, so it needs the standard library only.

    survey FOLDER                      print what the board is, and what the folder holds
    receive FOLDER                     store the files of a tar archive on standard input
    unpack FOLDER KEY MODULE WHEEL…    make an environment out of wheels in the store
    stamp ENVIRONMENT RUNTIME PLACE    print what the file in a place classifies
    install FOLDER FILE PLACE          put a file of the store in a place, and keep what was there
    roll_back FOLDER PLACE             put back what was there before
    facts RUNTIME                      print the runtime file's host facts
    jobs ENVIRONMENT RUNTIME ARRAYS    run jobs from standard input, print their results

The folder holds store/ (files by their SHA-256), environments/ (unpacked wheels), previous/ (what
was in a place before, by its SHA-256) and work/ (arrays of running jobs). Answers are JSON, one
document a line.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import platform
import re
import runpy
import select
import shutil
import stat
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORK = "work"  # folder of the arrays
_CHUNK_BYTES = 1 << 18
_STALE_SECONDS = 86400.0  # after a day nobody works on it any more
_KILL = 9
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def survey(folder: str) -> None:
    """Print what the board is; nothing is written."""
    root = _root(folder)
    existing = next(each for each in (root, *root.parents) if each.exists())
    store = root / "store"
    files = [each for each in _entries(store) if each.is_file()]
    facts = {
        "machine": platform.machine(),
        "pointer_bits": struct.calcsize("P") * 8,
        "python": platform.python_version(),
        "libc": _libc(),
        "numpy": _numpy(),
        "folder": str(root),
        "writable": os.access(existing, os.W_OK | os.X_OK),
        "free_bytes": shutil.disk_usage(existing).free,
        "files": {each.name: each.stat().st_size for each in files},
        "environments": [
            each.name for each in _entries(root / "environments") if each.name[0] != "."
        ],
    }
    print(json.dumps(facts))


def receive(folder: str) -> None:
    """Store the files of a tar archive whose names begin with their SHA-256; print each name.

    A file that was cut off or damaged is not stored. Several connections may send the same file.
    """
    store = _root(folder) / "store"
    _make(store)
    _remove_stale(store, hidden_only=True)
    with (
        _printing_errors(),
        contextlib.suppress(tarfile.ReadError),  # cut off: what came before is stored
        tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive,
    ):
        for member in archive:
            digest = member.name.partition(".")[0]
            if _write(store / member.name, archive.extractfile(member), digest):
                print(json.dumps({"stored": member.name}), flush=True)


def unpack(folder: str, key: str, module: str, *wheels: str) -> None:
    """Make the environment `key` out of wheels in the store; whole, or not at all.

    `module` is what will be imported from it.
    """
    root = _root(folder)
    environments = root / "environments"
    _make(environments)
    _remove_stale(environments, hidden_only=True)
    building = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=environments))
    try:
        with _printing_errors():
            for wheel in wheels:
                with zipfile.ZipFile(root / "store" / wheel) as archive:
                    archive.extractall(building)  # noqa: S202 — its hash was checked
            for data in [*building.glob("*.data/purelib"), *building.glob("*.data/platlib")]:
                shutil.copytree(data, building, dirs_exist_ok=True)
            _import_once(building, module)
            os.sync()  # a power cut must not leave a whole name with empty files
            building.chmod(0o755)
            with contextlib.suppress(OSError):  # another connection was faster
                building.rename(environments / key)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    print(json.dumps({"environment": key}))


def stamp(environment: str, runtime: str, place: str) -> None:
    """Print labels and size of images of the artifact in a place; nothing where there is none."""
    sys.path[:0] = [environment, runtime] if environment else [runtime]
    from hemline.contract.stamp import read_stamped
    from hemline.errors import HemlineError

    with contextlib.suppress(HemlineError):
        found = read_stamped(_path(place)).stamp
        size = (found.input.height, found.input.width, found.input.channels)
        print(json.dumps({"present": (found.labels, size)}))


def install(folder: str, name: str, place: str) -> None:
    """Put a file of the store in a place, whole or not at all; print what is there now.

    What was there is kept in the folder, unless it is the same file: a pack gets no other file.
    """
    _put(folder, _root(folder) / "store" / name, name.partition(".")[0], _path(place))


def roll_back(folder: str, place: str) -> None:
    """Exchange what is in a place with what was there before; print what is there now."""
    path = _path(place)
    with _printing_errors(path):
        previous = _previous(folder, path)
        if previous is None:
            raise OSError("there is no previous file")
        if _digest(previous) != previous.name:
            raise OSError("the previous file is damaged; the present one stays")
    _put(folder, previous, previous.name, path)


def _put(folder: str, source: Path, digest: str, path: Path) -> None:
    with _printing_errors(path):
        before, kept = _digest(path), _kept(folder, path)
        if digest != before:
            _require_listed(path)
            following = path.with_name(f"{path.name}.next")
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(source, following, digest, _mode(path))
            if before is not None:
                kept.mkdir(parents=True, exist_ok=True)
                _copy(path, kept / before, before, _mode(path))
            following.replace(path)
            for old in {*_entries(kept)} - {kept / str(before)}:
                old.unlink()
        _correct_sums(path, digest)  # also where it was cut off before
        previous = _previous(folder, path)
        facts = {"sha256": digest, "previous_sha256": previous.name if previous else ""}
        print(json.dumps({"installed": {**facts, "changed": digest != before}}))


def _kept(folder: str, path: Path) -> Path:
    """Return the folder of what was in a place before."""
    return _root(folder) / "previous" / hashlib.sha256(os.fsencode(path)).hexdigest()


def _previous(folder: str, path: Path) -> Path | None:
    """Return the newest file that was in a place before, and is another one than that there."""
    found = set(_kept(folder, path).glob("[!.]*")) - {_kept(folder, path) / str(_digest(path))}
    return max(found, key=lambda each: each.stat().st_mtime, default=None)


def facts(runtime: str) -> None:
    """Print the host facts that jobs give, without numpy."""
    sys.path.insert(0, runtime)
    from hemline.contract.schema import to_document
    from hemline.host import host_facts

    print(json.dumps(to_document(host_facts())))


def jobs(environment: str, runtime: str, arrays: str) -> None:
    """Run the job runner of the runtime file with the packages of an environment."""
    _end_with_the_connection()
    _make(Path(arrays).parent)
    _remove_stale(Path(arrays).parent)
    Path(arrays).mkdir(mode=0o700, exist_ok=True)
    if environment:
        sys.path.insert(0, environment)
    sys.argv = [runtime, "jobs"]
    try:
        runpy.run_path(runtime, run_name="__main__")
    finally:
        shutil.rmtree(arrays, ignore_errors=True)


def _write(path: Path, source: Any, digest: str, mode: int = 0o600) -> bool:
    """Write a file, and name it once its hash is right; return whether it is."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        found = hashlib.sha256()
        with os.fdopen(descriptor, "wb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                found.update(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        if found.hexdigest() != digest:
            return False
        Path(partial).chmod(mode)
        Path(partial).replace(path)
        return True
    finally:  # a full disk is not to stay full
        Path(partial).unlink(missing_ok=True)


def _copy(source: Path, path: Path, digest: str, mode: int) -> None:
    with source.open("rb") as stream:
        if not _write(path, stream, digest, mode):
            raise OSError(f"{source} is damaged")


def _correct_sums(path: Path, digest: str) -> None:
    """Let the list of a pack's files name the one that is in it now."""
    sums = path.with_name("SHA256SUMS")
    if sums.is_file():
        line = rb"(?m)^[0-9a-f]{64}(?=  %s$)" % re.escape(os.fsencode(path.name))
        before = sums.read_bytes()
        text = re.sub(line, digest.encode(), before)
        if text != before:
            _write(sums, io.BytesIO(text), hashlib.sha256(text).hexdigest(), _mode(sums))


def _require_listed(path: Path) -> None:
    """Raise OSError for a file that a pack does not have: its scripts would not use it."""
    sums = path.with_name("SHA256SUMS")
    if sums.is_file() and b"  %s\n" % os.fsencode(path.name) not in sums.read_bytes():
        raise OSError("the pack there has no file of this name")


def _path(place: str) -> Path:
    """Return the path of a place; in the home folder unless it begins with /."""
    return (Path.home() / _expanded(place)).resolve()


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        print(json.dumps({"error": "no such user", "place": text}))
        sys.exit(1)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file; None where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


@contextlib.contextmanager
def _printing_errors(place: Path | None = None) -> Iterator[None]:
    """Print an error of the system, and the place that it is about, and exit."""
    try:
        yield
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or str(error)
        print(json.dumps({"error": reason, "place": str(place or "")}))
        sys.exit(1)


def _import_once(packages: Path, module: str) -> None:
    """Have the modules that an import reads compiled, so that the first one takes no longer.

    All that is in the wheels would take minutes on a small board. What fails here fails again in
    the first job, which reports it.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.dup2(2, 1)
        sys.path.insert(0, str(packages))
        importlib.import_module(module)
    finally:
        os._exit(0)


def _root(folder: str) -> Path:
    if folder:
        return _expanded(folder).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return cache / "hemline"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(json.dumps({"error": f"cannot make {folder}: {error.strerror}"}))
        sys.exit(1)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _remove_stale(folder: Path, *, hidden_only: bool = False) -> None:
    for each in _entries(folder):
        if hidden_only and each.name[0] != ".":
            continue
        with contextlib.suppress(OSError):
            if time.time() - each.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(each) if each.is_dir() else each.unlink()


def _libc() -> str:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    return ""


def _numpy() -> str | None:
    """Return the version of the system's numpy, without importing it."""
    from importlib import metadata

    try:
        return metadata.version("numpy")
    except metadata.PackageNotFoundError:
        return None


def _end_with_the_connection() -> None:
    """Have the kernel end this process with the one that started it.

    A job that outlives its connection would disturb the measurements after it.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, _KILL, 0, 0, 0)
    jobs_come = select.poll()
    jobs_come.register(sys.stdin, 0)
    if jobs_come.poll(0):  # hung up: it ended before this process could ask for the signal
        sys.exit(1)


_COMMANDS: dict[str, Any] = {
    f.__name__: f for f in (survey, receive, unpack, stamp, install, roll_back, facts, jobs)
}

if __name__ == "__main__":
    _COMMANDS[sys.argv[1]](*sys.argv[2:])

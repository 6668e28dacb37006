"""Unpack Debian packages, without root and without changing the system.

apt keeps its lists, archives and state in a folder that is removed afterwards. It uses the package
sources of this machine, checks their signatures, and can fetch for another architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hemline.errors import DataError
from hemline.folders import TemporaryFolder, require_space
from hemline.programs import ProgramError, output_of

STALL_SECONDS = 10  # longest wait for a connection and for the next bytes
LEAST_FREE_BYTES = 100 << 20  # lists (20 MB) and archives; on a full disk apt would hang
COMMAND_SECONDS = 180.0  # package lists (10 MB) or the packages (31 MB at most) on a slow line


def unpack_packages(
    packages: Sequence[str],
    into: Path,
    *,
    architecture: str | None = None,
    dependencies: bool = True,
) -> dict[str, str]:
    """Unpack packages and all that they depend on into a folder; return name to version.

    Nothing counts as installed, and scripts of packages do not run. `architecture` is Debian's name
    of another one (arm64, armhf). Without `dependencies`, only the packages themselves. Raises
    DataError when apt-get or dpkg-deb is missing, fails or takes too long.
    """
    with TemporaryFolder() as name:
        folder = Path(name)
        require_space(folder.parent, LEAST_FREE_BYTES, variable="TMPDIR")
        apt = _apt(folder, architecture)
        stale = _update(apt, folder)
        archives = folder / "archives"
        try:
            if dependencies:
                _run([*apt, "--assume-yes", "--download-only", "install", *packages], folder)
            else:
                _run([*apt, "download", *packages], archives)
        except DataError as error:
            raise error if stale is None else stale from error
        fetched = sorted(archives.glob("*.deb"))
        for archive in fetched:
            _run(["dpkg-deb", "--extract", str(archive), str(into)], folder)
        return dict(_name_and_version(archive) for archive in fetched)


def _apt(folder: Path, architecture: str | None) -> list[str]:
    """Return apt-get with a state of its own below `folder`."""
    for part in ("lists/partial", "archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()  # nothing is installed
    apt = [
        "apt-get",
        "-qq",
        f"-oDir::State::Lists={folder}/lists",
        f"-oDir::State::status={folder}/status",
        f"-oDir::Cache={folder}",
        "-oAPT::Install-Recommends=0",
        "-oAcquire::Languages=none",
        "-oAPT::Update::Error-Mode=any",  # else an unreachable network is only a warning
        "-oAcquire::Retries=1",
        f"-oAcquire::http::Timeout={STALL_SECONDS}",
        f"-oAcquire::https::Timeout={STALL_SECONDS}",
        "-oAPT::Sandbox::User=",  # the sandbox user may not write into a private folder
        "-oDebug::NoLocking=1",  # the lock is the system's, and needs root
    ]
    if architecture is not None:
        apt += [f"-oAPT::Architecture={architecture}", f"-oAPT::Architectures={architecture}"]
    return apt


def _update(apt: Sequence[str], folder: Path) -> DataError | None:
    """Fetch the lists; return the error when some are missing, for the others may be enough."""
    try:
        _run([*apt, "update"], folder)
    except DataError as error:
        if not any((folder / "lists").glob("*Packages*")):
            raise
        return error
    return None


def _name_and_version(archive: Path) -> tuple[str, str]:
    # apt writes the colon of an epoch as %3a
    name, version, _ = archive.name.split("_")
    return name, version.replace("%3a", ":")


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        output_of(command, seconds=COMMAND_SECONDS, folder=folder)
    except ProgramError as error:
        if not error.stderr:
            raise DataError(str(error)) from error
        causes = [line.removeprefix("E:").strip() for line in error.stderr if line.startswith("E:")]
        # apt writes the cause first and the consequence last; dpkg-deb writes the cause last
        cause = next(iter(causes), error.stderr[-1])
        raise DataError(f"{command[0]} failed ({cause})") from error

"""A board that is this machine: an sshd on a loopback port, with throw-away keys and a home of its
own; and a cable to it that can be cut."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hemline.debian_packages import unpack_packages
from hemline.errors import HemlineError
from hemline.folders import made

_START_SECONDS = 60.0  # a machine that tests everything at once is slow
_MOST_PORTS = 5  # tried one after the other
_UNPACKED_BYTES = 150 << 20  # the package with all that it depends on, while it is unpacked
SYSTEM_SSHD = Path("/usr/sbin/sshd")


class NoSshdError(Exception):
    """There is no sshd here, and why none can be had."""


def find_sshd(cache: Path) -> tuple[Path, Path | None]:
    """Return sshd and the folder of its libraries: the system's, or Debian's, unpacked into cache.

    Raises NoSshdError.
    """
    if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        raise NoSshdError("there is no ssh here: apt-get install openssh-client")
    if SYSTEM_SSHD.exists():
        return SYSTEM_SSHD, None
    try:
        folder = made(cache / "loopback-sshd", _take_sshd, needs_bytes=_UNPACKED_BYTES)
    except HemlineError as error:
        raise NoSshdError(
            f"openssh-server is not installed, and Debian's was not to be had: {error}"
        ) from error
    return folder / "sshd", folder


def _take_sshd(folder: Path) -> None:
    root = folder / "root"
    unpack_packages(["openssh-server"], root)
    shutil.copy2(root / "usr/sbin/sshd", folder)
    # the one library that no other package brings; the others are the system's own
    for library in root.rglob("libwrap.so.0*"):
        shutil.copy2(library, folder)
    shutil.rmtree(root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A running sshd.

    folder: of keys and configuration; home/ and bin/ (first on its PATH) are the board's.
    port: on 127.0.0.1.
    process: sshd itself.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """Return the home folder of the board's user."""
        return self.folder / "home"

    @property
    def cache(self) -> Path:
        """Return the folder of our files there, unless another one is chosen."""
        return self.home / ".cache" / "hemline"

    @property
    def address(self) -> str:
        """Return user, host and port."""
        return self.address_at(self.port)

    def address_at(self, port: int) -> str:
        """Return the address of this board behind another port."""
        return f"{getpass.getuser()}@127.0.0.1:{port}"

    def set_python(self, command: str) -> None:
        """Let python3 on the board be a shell line, which gets its arguments as "$@"."""
        program = self.folder / "bin" / "python3"
        program.write_text(f"#!/bin/sh\n{command}\n")
        program.chmod(0o755)

    def sessions(self) -> list[int]:
        """Return the process ids of the connections that sshd serves."""
        pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
        return [pid for pid in pids if _parent(pid) == self.process.pid]


def _parent(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def own_python() -> str:
    """Return the shell line that starts this machine's Python, without this environment."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return f'exec {shlex.quote(str(Path(sys.base_prefix) / "bin" / version))} "$@"'


@contextlib.contextmanager
def running_board(folder: Path, cache: Path) -> Iterator[Board]:
    """Start sshd in a folder and end it; raises NoSshdError."""
    program, libraries = find_sshd(cache)
    for part in ("home", "bin", "keys"):
        (folder / part).mkdir(parents=True)
    for key in ("host", "user"):
        path = str(folder / "keys" / key)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    (folder / "ssh.conf").write_text(_client(folder))
    trust(folder, folder / "keys" / "host.pub")
    board = _started(folder, program, libraries)
    try:
        board.set_python(own_python())
        yield board
    finally:
        sessions = board.sessions()
        board.process.terminate()
        board.process.wait()
        for pid in sessions:
            with contextlib.suppress(OSError):
                os.kill(pid, 15)


def _started(folder: Path, program: Path, libraries: Path | None) -> Board:
    """Start sshd; on another port where somebody else took the free one meanwhile."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)} if libraries else None
    log = folder / "sshd.log"
    for _ in range(_MOST_PORTS):
        port = free_port()
        (folder / "sshd.conf").write_text(_configuration(folder, port))
        with log.open("wb") as stream:
            process = subprocess.Popen(
                _command(program, folder), stdin=subprocess.DEVNULL, stderr=stream, env=environment
            )
        if _listens(process, log):
            return Board(folder=folder, port=port, process=process)
        process.kill()
        process.wait()
        if b"Address already in use" not in log.read_bytes():
            break
    raise NoSshdError(f"sshd does not start here: {log.read_text(errors='replace').strip()[-300:]}")


def _listens(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Wait until sshd says so: to knock would make a session, or meet whoever took the port."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if b"Server listening on " in log.read_bytes():
            return True
        time.sleep(0.02)
    return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def trust(folder: Path, public_key: Path) -> None:
    """Write the key as the one that is known of every port of 127.0.0.1."""
    kind, key, *_ = public_key.read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:* {kind} {key}\n")


def let_in(board: Board, first: Board, *ports: int) -> None:
    """Let a board accept the key of the first one; all are 127.0.0.1 to this machine.

    `ports` are others that lead to it.
    """
    if board is first:
        return
    shutil.copy(first.folder / "keys" / "user.pub", board.folder / "keys" / "user.pub")
    kind, key, *_ = (board.folder / "keys" / "host.pub").read_text().split()
    with (first.folder / "known_hosts").open("a") as known:
        for port in (board.port, *ports):
            known.write(f"[127.0.0.1]:{port} {kind} {key}\n")


def write_ssh(board: Board, program: Path) -> None:
    """Write an `ssh` that has this board's key and known host, in place of the user's own."""
    real = shutil.which("ssh")
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(
        f'#!/bin/sh\nexec {real} -F {shlex.quote(str(board.folder))}/ssh.conf "$@"\n'
    )
    program.chmod(0o755)


def _configuration(folder: Path, port: int) -> str:
    path = f"{folder}/bin:/usr/local/bin:/usr/bin:/bin"
    return f"""
Port {port}
ListenAddress 127.0.0.1
HostKey "{folder}/keys/host"
AuthorizedKeysFile "{folder}/keys/user.pub"
StrictModes no
PidFile none
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv "HOME={folder}/home" "PATH={path}"
"""


def _client(folder: Path) -> str:
    return f"""
IdentityFile "{folder}/keys/user"
IdentitiesOnly yes
UserKnownHostsFile "{folder}/known_hosts"
GlobalKnownHostsFile /dev/null
"""


def _command(program: Path, folder: Path) -> list[str]:
    sshd = [str(program), "-D", "-e", "-f", str(folder / "sshd.conf")]
    if os.getuid() != 0:
        return sshd
    # sshd run by root wants a user and a folder of its own: they are there for this process only
    users = Path("/etc/passwd").read_text().splitlines()
    users = [line for line in users if not line.startswith("sshd:")]
    users.append("sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin")
    (folder / "passwd").write_text("\n".join(users) + "\n")
    script = (
        f"mount --bind {shlex.quote(str(folder / 'passwd'))} /etc/passwd && "
        f"mount -t tmpfs none /run && mkdir /run/sshd && exec {shlex.join(sshd)}"
    )
    return ["unshare", "--mount", "sh", "-c", script]


class Cable:
    """A loopback port that leads to another one, and can be cut.

    sent: bytes that went towards the board.
    cut_after: cut once so many more have gone there.
    """

    def __init__(self, to: int) -> None:
        self.sent = 0
        self.cut_after: int | None = None
        self._to = to
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut what goes through now; later connections go through again."""
        self.cut_after = None
        pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut, and let nothing through any more."""
        with contextlib.suppress(OSError):  # it may be closed already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append((near, far))
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Carry both ways until one of the ends is closed."""
        back = threading.Thread(target=self._forward, args=(far, near, False), daemon=True)
        with near, far:  # closed when nobody reads them any more
            back.start()
            self._forward(near, far, True)
            back.join()

    def _forward(self, source: socket.socket, target: socket.socket, towards: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                target.sendall(chunk)
                if not towards:
                    continue
                self.sent += len(chunk)
                if self.cut_after is not None:
                    self.cut_after -= len(chunk)
                    if self.cut_after <= 0:
                        self.cut()
        for end in (source, target):  # so that the other thread comes to its end, too
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

"""The page in a Chromium of its own, without a window: it ends with its owner."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hemline.activity import ROOT
from hemline.bench.devices.browser.page import Page, PageServer
from hemline.child_process import StderrTail, how_it_ended
from hemline.errors import JobError
from hemline.folders import TemporaryFolder
from hemline.host import text_of

_STOP_SECONDS = 5.0
# the browser has its pipe at 3 and 4, and ends with it; containers have little shared memory
_START = ("sh", "-c", 'exec "$@" 3<&0 4>/dev/null', "sh")
_OPTIONS = ("--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-extensions")
_MORE = ("--disable-background-networking", "--disable-dev-shm-usage")


def tree_seconds(root: Path = ROOT) -> float:
    """Return the processor time of this process and of all below it, from proc_stat(5)."""
    used: dict[int, int] = {}
    below: dict[int, list[int]] = {}
    for path in (root / "proc").glob("[0-9]*/stat"):
        fields = (text_of(path) or "").rpartition(")")[2].split()
        if fields:  # it is still there
            used[int(path.parent.name)] = sum(map(int, fields[11:15]))
            below.setdefault(int(fields[1]), []).append(int(path.parent.name))
    own = [os.getpid()]
    for process in own:
        own += below.get(process, [])
    return sum(used.get(process, 0) for process in own) / os.sysconf("SC_CLK_TCK")


class ChromiumPage(Page):
    """The only page of a browser, with one worker."""

    def __init__(self, program: Path, package: Path, options: Sequence[str]) -> None:
        """Start Chromium with further options; `package` has the files of a runtime."""
        super().__init__(PageServer((package,)), runner=0)
        self._profile = TemporaryFolder()
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # which does not work for root
        address = f"http://127.0.0.1:{self.server.server_port}{self.server.path}"
        profile = f"--user-data-dir={self._profile.name}"
        self.child = subprocess.Popen(
            [*_START, str(program), *_OPTIONS, *_MORE, *root, *options, profile, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._stderr = StderrTail(self.child.stderr)

    def check(self) -> None:
        """Raise JobError when the browser has ended."""
        if (code := self.child.poll()) is not None:
            raise JobError(f"the browser ended {how_it_ended(code, self._stderr.text())}")

    def close(self) -> None:
        """End the browser, by force if need be."""
        if self.child.stdin is not None:
            self.child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(_STOP_SECONDS)
        self.child.kill()
        self.child.wait()
        self.server.close()
        self._profile.cleanup()

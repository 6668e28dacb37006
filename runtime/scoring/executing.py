"""Do tasks here, in processes with a classifier each, or on the cores of a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from hemline.child_process import PipedChild, parent_pipe
from hemline.cluster import Resources, own, require_same
from hemline.errors import DataError, HemlineError, JobError, first_line
from hemline.runtime.scoring.chunks import Task, do_task
from hemline.runtime.scoring.scorer import Scorer, ScoringOptions

CORE = Resources()
_LOOK_SECONDS = 0.2
# writes the chunks of tasks into a folder, and yields now and then
Execute = Callable[[ScoringOptions, Sequence[Task], Path], Iterator[object]]


def here(options: ScoringOptions, tasks: Sequence[Task], folder: Path) -> Iterator[object]:
    """Do tasks in this process."""
    with Scorer(options) as scorer:
        for task in tasks:
            yield from do_task(task, scorer, folder)


def in_processes(count: int) -> Execute:
    """Return what does tasks in `count` processes; one that ends early leaves its own undone."""

    def execute(options: ScoringOptions, tasks: Sequence[Task], folder: Path) -> Iterator[object]:
        shares = [(options, tasks[at::count], folder) for at in range(min(count, len(tasks)))]
        if len(shares) == 1:  # a process takes longer to start than many images
            yield from here(*shares[0])
            return
        children: list[PipedChild] = []
        try:
            for share in shares:
                # libraries of linear algebra would start a thread for every core in each of them
                children.append(PipedChild(__name__, OPENBLAS_NUM_THREADS="1"))
                with contextlib.suppress(OSError):  # it has ended: what it leaves is done here
                    children[-1].pipe.send(share)
            while running := [each for each in children if each.process.poll() is None]:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running[0].process.wait(_LOOK_SECONDS)
                yield None
        finally:
            for child in children:
                child.end()

    return execute


def _work() -> None:
    """Do the tasks that the command sends, as long as it lives: files are written whole or not."""
    sys.meta_path.insert(0, _NoPandas())
    share = parent_pipe().recv()
    # the command comes to an error when it does what is left, and says what is wrong
    with contextlib.suppress(HemlineError):
        for _ in here(*share):
            pass


class _NoPandas(MetaPathFinder):
    """Lets pyarrow find no pandas: to look at its first list it would import it, for 0.25 s."""

    def find_spec(self, fullname: str, *_: object) -> None:
        """Raise ImportError for pandas."""
        if fullname == "pandas":
            raise ImportError(fullname)


def on_ray(places: int) -> Execute:
    """Return what does tasks on so many cores of the connected cluster, by Ray Data.

    A worker that is lost is replaced, and its task done again. Raises HemlineError for what a
    worker refuses, JobError where the cluster fails.
    """

    def execute(options: ScoringOptions, tasks: Sequence[Task], folder: Path) -> Iterator[object]:
        import ray.data
        from ray.exceptions import RayError

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"task": pickle.dumps(task)} for task in tasks]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _RayWorker,
            fn_constructor_args=(options, folder, own()),
            batch_size=1,
            num_cpus=CORE.cpus,
            concurrency=min(places, len(rows)),
        )
        try:
            for row in done.iter_rows():
                if row["error"]:
                    raise HemlineError(row["error"])
                yield row
        except RayError as error:
            raise JobError(f"the Ray cluster failed ({first_line(error)})") from error

    return execute


class _RayWorker:
    """A classifier in a process of Ray's."""

    def __init__(
        self, options: ScoringOptions, folder: Path, known: tuple[str, str | None]
    ) -> None:
        self._options, self._folder, self._known = options, folder, known
        self._scorer: Scorer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        try:
            for pickled in batch["task"]:
                self._do(pickle.loads(pickled))  # noqa: S301 — of our own command
        except HemlineError as error:  # Ray would try it again, and wrap it
            return {"error": [str(error)]}
        return {"error": [""]}

    def _do(self, task: Task) -> None:
        for path in (Path(self._options.artifact), self._folder, task.unit.parts[0].path):
            if not path.exists():
                raise DataError(
                    f"{socket.gethostname()} has no {path}: the artifact, the images and the "
                    "output must be on a disk that all machines of the cluster share"
                )
        if self._scorer is None:
            require_same(self._known)
            self._scorer = Scorer(self._options)
        for _ in do_task(task, self._scorer, self._folder):
            pass


if __name__ == "__main__":
    _work()

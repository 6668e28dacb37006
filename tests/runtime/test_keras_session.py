"""A checkpoint is one more artifact in one more runtime that jobs run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hemline.contract.checkpoint import MODEL_NAME
from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.specs import LOGITS
from hemline.data.datasets import Images
from hemline.runtime.discovery import discover
from hemline.runtime.job import JobRunner
from hemline.runtime.one_file import reached_modules
from hemline.runtime.process import JobProcess

Run = Callable[..., JobResult]


@pytest.fixture(scope="module")
def run(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Return a function that runs cells of a checkpoint, in one process for all tests."""
    folder = tmp_path_factory.mktemp("jobs")
    np.save(folder / "images.npy", images.test_images)
    with JobProcess() as process:

        def in_keras(checkpoint: Path, *cells: JobCell) -> JobResult:
            job = Job(
                id="a",
                artifact=str(checkpoint),
                runtime="keras",
                images=str(folder / "images.npy"),
                cells=cells,
                want=("outputs", "latencies"),
                arrays=str(folder),
            )
            return process.run(job)

        yield in_keras


@pytest.mark.medium
def test_a_job_runs_a_checkpoint_as_keras_does(checkpoint: Path, images: Images, run: Run) -> None:
    from hemline.train.tensorflow import quiet_keras

    cells = (JobCell(threads=1, batch=64), JobCell(threads=1, batch=1, invocations=5))
    result = run(checkpoint, *cells)
    assert result.failure is None
    assert result.runtime_version == quiet_keras().__version__
    model = quiet_keras().models.load_model(checkpoint / MODEL_NAME, compile=False)
    expected = np.asarray(model(images.test_images.astype(np.float32), training=False))
    for cell in result.cells:
        # folding the constants rounds otherwise: a few steps of float32 at logits of about 10
        np.testing.assert_allclose(np.load(cell.outputs[LOGITS]), expected, atol=1e-4)
        assert cell.load_ns > 0
    assert len(result.cells[1].latencies_ns) == 5


@pytest.mark.medium
def test_another_number_of_threads_needs_another_process(checkpoint: Path, run: Run) -> None:
    result = run(checkpoint, JobCell(threads=1), JobCell(threads=2))
    assert result.failure is not None
    assert result.failure.kind == "backend"
    assert "cannot change its number of threads" in result.failure.message


@pytest.mark.medium
def test_what_is_not_a_checkpoint_fails_as_a_file(tmp_path: Path, run: Run) -> None:
    (tmp_path / "nothing").mkdir()
    result = run(tmp_path / "nothing", JobCell())
    assert result.failure is not None
    assert result.failure.kind == "file"
    assert "it has no card.json" in result.failure.message


def test_keras_is_no_runtime_of_a_device() -> None:
    assert "keras" not in {found.name for found in discover()}
    assert not [name for name in reached_modules() if name.startswith("hemline.train")]
    assert "hemline.contract.checkpoint" not in reached_modules()


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_a_checkpoint_is_refused_by_other_runtimes(checkpoint: Path, runtime: str) -> None:
    job = Job(
        id="a", artifact=str(checkpoint), runtime=runtime, images="", cells=(), want=("outputs",)
    )
    failure = JobRunner().run(job).failure
    assert failure is not None
    assert failure.kind == "file"

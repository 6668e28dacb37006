"""Ray: what may be wrong with it in one line each, and what happens to tasks."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hemline import cluster
from hemline.cluster import Cluster, Resources, connected, result_of
from hemline.errors import BackendError, DivergenceError, HemlineError, JobError, UsageError
from hemline.remedies import described


def refused(address: str) -> HemlineError:
    with pytest.raises(HemlineError) as error, connected(address, Resources()):
        pass
    return error.value


def test_a_missing_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    error = refused("")
    assert isinstance(error, BackendError)
    assert str(error) == "Ray is not installed: pip install 'ray[data]' (extra ray)"


def test_an_old_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("__version__ = '2.9.3'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "ray")
    assert (
        str(refused(""))
        == "Ray 2.9.3 is too old (2.40 or newer): pip install -U 'ray[data]' (extra ray)"
    )
    sys.modules.pop("ray", None)


@pytest.fixture
def port() -> Iterator[int]:
    """Yield the port of a program that answers something else than Ray."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_an_address_where_nothing_answers_is_named_at_once(port: int) -> None:
    assert described(refused(f"ray://127.0.0.1:{port}")) == (
        f"no Ray cluster at ray://127.0.0.1:{port} (another program listens there); start one "
        "there with `ray start --head`, or use --ray without an address for this machine"
    )
    assert "no Ray cluster at 127.0.0.1:1 (" in str(refused("127.0.0.1:1"))


@pytest.mark.parametrize("address", ["hem-50k", "http://host:1", "host", "host:port"])
def test_what_is_no_address_is_refused(address: str) -> None:
    error = refused(address)
    assert isinstance(error, UsageError)
    assert str(error).startswith(f"{address} is not an address of Ray")


def test_what_a_task_occupies_is_counted_by_machine() -> None:
    task = Resources(cpus=2, gpus=0.5)
    assert str(task) == "2 cores and 0.5 GPU"
    assert cluster._places({"CPU": 7.0, "GPU": 1.0}, task) == 2
    assert cluster._places({"CPU": 7.0}, task) == 0
    assert cluster._places({"CPU": 7.0}, Resources()) == 7


@pytest.fixture(scope="module")
def here() -> Iterator[Cluster]:
    with connected("", Resources()) as found:
        yield found


@pytest.mark.medium
@pytest.mark.filterwarnings("default")  # of Ray's own modules
class TestOnRay:
    def test_workers_have_the_same_hemline_and_one_thread(self, here: Cluster) -> None:
        import ray

        threads = ray.remote(lambda: os.environ["TF_NUM_INTRAOP_THREADS"])
        assert result_of(threads.remote()) == "1"
        assert result_of(ray.remote(cluster.require_same).remote(cluster.own())) is None
        with pytest.raises(HemlineError, match="install the same"):
            result_of(ray.remote(cluster.require_same).remote(("0.0.1", None)))
        with pytest.raises(UsageError, match="has no machine with 4096 cores for a task"):
            here.require(Resources(cpus=4096))

    @pytest.mark.usefixtures("here")
    def test_a_lost_worker_and_a_fault_are_told_apart(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        import ray

        def diverge() -> None:
            raise DivergenceError("the loss is nan", epoch=3)

        ended = ray.remote(max_retries=0)(lambda: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(JobError, match="a Ray worker was lost"):
            result_of(ended.remote())
        with pytest.raises(HemlineError, match=r"failed \(ZeroDivisionError: .*by zero\)"):
            result_of(ray.remote(lambda: 1 // 0).remote())
        with pytest.raises(DivergenceError) as error:
            result_of(ray.remote(diverge).remote())
        assert (error.value.epoch, str(error.value)) == (3, "the loss is nan")
        assert capfd.readouterr().out == ""

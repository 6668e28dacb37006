"""Which runtimes are found here, which of them work, and which only a development machine has."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hemline.errors import BackendError
from hemline.runtime import discovery
from hemline.runtime.backends import BACKENDS, Backend, version_of
from hemline.runtime.command_line import main
from hemline.runtime.discovery import discover, installed_names, look_up, working


def test_the_order_of_the_table_is_kept_and_versions_are_those_of_the_packages() -> None:
    found = list(discover())
    assert [each.name for each in found] == list(installed_names())
    assert list(installed_names()) == [name for name in BACKENDS if name in installed_names()]
    for each in found:
        if each.problem is None:
            assert each.version == version_of(each.backend)


def test_a_format_has_its_runtimes_only() -> None:
    assert {found.backend.format for found in discover("onnx")} <= {"onnx"}
    assert [found.name for found in discover("onnx")] == ["onnxruntime"]


def test_none_is_imported_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def version(backend: Backend) -> str:
        tried.append(backend.name)
        return "1"

    monkeypatch.setattr(discovery, "version_of", version)
    monkeypatch.setattr(discovery, "installed", lambda _: True)
    next(working())
    assert tried == ["litert"]


def test_what_only_crashes_beside_tensorflow_works_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "version_of", lambda _: "2.14.0")
    monkeypatch.setattr(discovery, "installed", lambda backend: backend.name == "tflite-runtime")
    monkeypatch.setattr(np, "__version__", "1.26.4")
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    (here,) = discover(in_process=True)
    assert (here.version, "crashes in a process" in str(here.problem)) == ("", True)
    assert [(each.name, each.version) for each in working()] == [("tflite-runtime", "2.14.0")]
    with pytest.raises(BackendError, match="crashes in a process that has loaded tensorflow"):
        list(working(in_process=True))


def test_a_runtime_of_the_development_machine_is_found_when_its_format_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = BACKENDS["onnxruntime"]._replace(
        name="other", format="other", development_only=True, packages="tensorflow"
    )
    monkeypatch.setitem(BACKENDS, "other", row)
    assert "other" not in installed_names()
    assert "other" not in [found.name for found in discover()]
    assert [found.name for found in discover("other")] == ["other"]  # type: ignore[arg-type]
    found = look_up(row)
    assert found is not None
    assert found.version == version_of(row)
    assert main(["info"]) == 0
    assert "other" not in capsys.readouterr().out

"""Whatever comes in through a door, the answer is a value or one line; tests/fuzz looks longer."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_PATH = Path(__file__).resolve().parents[1] / "fuzz" / "doors.py"
JSON_DOORS = ("stamp", "manifest", "job", "result")
BYTE_DOORS = ("tflite", "onnx", "image", "array", "own_arrays", "stream", "recipe")
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def doors() -> ModuleType:
    spec = importlib.util.spec_from_file_location("doors", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [*JSON_DOORS, *BYTE_DOORS])
def test_what_is_good_is_let_in(doors: ModuleType, bundle: Path, name: str) -> None:
    """Guards the seeds: a door that refuses everything would pass every other test."""
    assert all(doors.enter(name, seed) for seed in doors.seeds(name, bundle))


@pytest.mark.parametrize("name", JSON_DOORS)
@quick
@given(choices=st.binary(min_size=3, max_size=24))
def test_an_altered_document_is_one_line(
    doors: ModuleType, bundle: Path, name: str, choices: bytes
) -> None:
    for seed in doors.seeds(name, bundle):
        doors.enter(name, doors.altered(json.loads(seed), choices))


@pytest.mark.filterwarnings("ignore::UserWarning")  # pillow's, of damaged metadata
@pytest.mark.parametrize("name", [*JSON_DOORS, *BYTE_DOORS])
@quick
@given(data=st.data())
def test_altered_bytes_are_one_line(
    doors: ModuleType, bundle: Path, name: str, data: st.DataObject
) -> None:
    seeds = doors.seeds(name, bundle)
    content = bytearray(seeds[data.draw(st.integers(0, len(seeds) - 1))])
    at = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["cut", "flip", "insert", "zero"]))
    if how == "cut":
        del content[at:]
    elif how == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif how == "insert":
        content[at:at] = data.draw(st.binary(max_size=64))
    else:
        content[at : at + 16] = bytes(len(content[at : at + 16]))
    doors.enter(name, bytes(content))


@pytest.mark.parametrize("name", [*JSON_DOORS, *BYTE_DOORS])
@quick
@given(content=st.binary(max_size=300))
def test_any_bytes_are_one_line(doors: ModuleType, name: str, content: bytes) -> None:
    doors.enter(name, content)

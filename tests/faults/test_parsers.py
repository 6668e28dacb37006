"""Whatever bytes a parser gets, it returns a value or raises one line; tests/fuzz tries longer."""

from __future__ import annotations

import json
from pathlib import Path

import parsers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON_PARSERS = ("stamp", "manifest", "job", "result")
BYTE_PARSERS = ("tflite", "onnx", "image", "array", "own_arrays", "stream", "recipe")
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", [*JSON_PARSERS, *BYTE_PARSERS])
def test_valid_input_is_accepted(bundle: Path, name: str) -> None:
    """Guards the seeds: a parser that refuses everything would pass every other test."""
    assert all(parsers.enter(name, seed) for seed in parsers.seeds(name, bundle))


@pytest.mark.parametrize("name", JSON_PARSERS)
@quick
@given(choices=st.binary(min_size=3, max_size=24))
def test_an_altered_document_is_one_line(bundle: Path, name: str, choices: bytes) -> None:
    for seed in parsers.seeds(name, bundle):
        parsers.enter(name, parsers.altered(json.loads(seed), choices))


@pytest.mark.filterwarnings("ignore::UserWarning")  # pillow's, of damaged metadata
@pytest.mark.parametrize("name", [*JSON_PARSERS, *BYTE_PARSERS])
@quick
@given(data=st.data())
def test_altered_bytes_are_one_line(bundle: Path, name: str, data: st.DataObject) -> None:
    seeds = parsers.seeds(name, bundle)
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
    parsers.enter(name, bytes(content))


@pytest.mark.parametrize("name", [*JSON_PARSERS, *BYTE_PARSERS])
@quick
@given(content=st.binary(max_size=300))
def test_any_bytes_are_one_line(name: str, content: bytes) -> None:
    parsers.enter(name, content)

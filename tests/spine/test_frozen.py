"""The lean dataclasses of the contract behave like those of the library."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from hemline.contract.specs import InputSpec, SupportedRuntime

SPEC = InputSpec(height=2, width=3, channels=1, dtype="uint8")


def test_it_is_a_dataclass_with_slots() -> None:
    assert dataclasses.is_dataclass(SPEC)
    assert [field.name for field in dataclasses.fields(SPEC)][:3] == ["height", "width", "channels"]
    assert dataclasses.asdict(SPEC)["scale"] == 1.0
    assert not hasattr(SPEC, "__dict__")
    changed = dataclasses.replace(SPEC, width=4)
    assert (changed.width, changed.height, SPEC.width) == (4, 2, 3)


def test_equal_values_are_equal_and_hash_alike() -> None:
    again = InputSpec(height=2, width=3, channels=1, dtype="uint8")
    assert again == SPEC
    assert hash(again) == hash(SPEC)
    assert dataclasses.replace(SPEC, width=4) != SPEC
    assert SupportedRuntime(runtime="litert", minimum="1") != SPEC
    assert SPEC != "a text"


def test_it_is_shown_copied_and_pickled_whole() -> None:
    spec = SupportedRuntime(runtime="litert", minimum="2.3.0")
    assert repr(spec) == "SupportedRuntime(runtime='litert', minimum='2.3.0')"
    assert pickle.loads(pickle.dumps(SPEC)) == SPEC  # noqa: S301 — made here
    assert copy.deepcopy(SPEC) == SPEC


def test_no_field_can_be_changed_or_deleted() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot change the field 'width'"):
        SPEC.width = 5  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot change the field 'width'"):
        del SPEC.width


def test_missing_unknown_and_positional_values_are_type_errors() -> None:
    with pytest.raises(TypeError, match="SupportedRuntime has no value for the field 'minimum'"):
        SupportedRuntime(runtime="litert")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="SupportedRuntime has no field 'maximum'"):
        SupportedRuntime(runtime="litert", minimum="1", maximum="2")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        SupportedRuntime("litert", "1")  # type: ignore[misc]


def test_values_are_checked_when_they_are_made_and_replaced() -> None:
    with pytest.raises(ValueError, match="scale and std must be positive"):
        dataclasses.replace(SPEC, scale=0.0)

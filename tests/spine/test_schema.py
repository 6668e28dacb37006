"""Border types: JSON there and back, and strict on the way in."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemline.contract import card, job, manifest, monitoring, record, specs, stamp, test_vector
from hemline.contract.schema import from_document, to_document
from hemline.errors import FileFormatError, NewerSchemaError, SchemaError
from hemline.export import scheme
from hemline.files import parse_json

MODULES = (specs, scheme, test_vector, card, manifest, monitoring, stamp, job, record)
BORDER_TYPES = [
    cls
    for module in MODULES
    for cls in vars(module).values()
    if isinstance(cls, type)
    and dataclasses.is_dataclass(cls)
    and cls.__module__ == module.__name__
    and cls is not stamp.StampedFile  # stays in memory
]
VERSIONED = [cls for cls in BORDER_TYPES if hasattr(cls, "SCHEMA")]
_VALUES: dict[Any, Any] = {str: "text", int: 3, float: 0.5, bool: True, type(None): None}


def sample(kind: Any) -> Any:
    """Return a valid value of a field type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return arguments[0]
    if origin is tuple:
        return (sample(arguments[0]), sample(arguments[0]))
    if origin is dict:
        return {"key": sample(arguments[1])}
    if arguments:  # a union: the first member that is not None
        return sample(next(each for each in arguments if each is not type(None)))
    if dataclasses.is_dataclass(kind):
        return build(kind)
    return _VALUES[kind]


def build(cls: Any) -> Any:
    """Return a valid instance of a border type."""
    special: dict[str, Any] = {}
    if cls in (card.ModelCard, stamp.Stamp):
        special["labels"] = ("one", "two", "three")
    if cls is stamp.Stamp:
        special["payload_sha256"] = "0" * 64
        special |= {"distance": None, "reference": None}  # which have tests of their own
        special["test_vectors"] = (test_vector.TestVector(pixels="", logits=(0.5, 0.5, 0.5)),)
    if cls is monitoring.Reference:
        special["score_edges"] = special["distance_edges"] = (0.5,)
    if cls is specs.OutputSpec:
        special |= {"name": "logits", "position": 0}
    if cls in (stamp.Stamp, manifest.Artifact):
        special["outputs"] = (build(specs.OutputSpec),)
    if cls is card.Split:
        special["validation_indices"] = special["test_indices"] = (3, 5)
    if cls is card.TrainingCard:
        splits = ("validation", "test")
        special["scores"] = tuple(card.Score(split=s, images=9, correct=3) for s in splits)
    fields = {
        name: sample(kind)
        for name, kind in typing.get_type_hints(cls).items()
        if typing.get_origin(kind) is not ClassVar and name not in special
    }
    return cls(**(fields | special))


@pytest.mark.parametrize("cls", BORDER_TYPES, ids=lambda cls: cls.__name__)
def test_a_border_type_survives_json(cls: Any) -> None:
    value = build(cls)
    text = json.dumps(to_document(value))
    assert from_document(cls, json.loads(text), where="here") == value


@pytest.mark.parametrize("cls", BORDER_TYPES, ids=lambda cls: cls.__name__)
def test_every_field_is_documented(cls: Any) -> None:
    documented = re.findall(r"^ *([a-z_0-9, ]+): ", cls.__doc__, re.MULTILINE)
    names = {name.strip() for line in documented for name in line.split(",")}
    fields = {field.name for field in dataclasses.fields(cls)}
    if cls is not record.Record:  # its one sentence names its three fields
        assert fields <= names


@pytest.mark.parametrize("cls", VERSIONED, ids=lambda cls: cls.__name__)
def test_a_newer_schema_is_refused(cls: Any) -> None:
    document = to_document(build(cls)) | {"schema": cls.SCHEMA + 1}
    with pytest.raises(NewerSchemaError, match=r"here has .* upgrade Hemline"):
        from_document(cls, document, where="here")


@pytest.mark.parametrize("cls", VERSIONED, ids=lambda cls: cls.__name__)
def test_another_kind_is_refused(cls: Any) -> None:
    document = to_document(build(cls)) | {"kind": "something else"}
    with pytest.raises(SchemaError, match="kind must be"):
        from_document(cls, document, where="here")


@pytest.mark.parametrize("cls", VERSIONED, ids=lambda cls: cls.__name__)
def test_a_missing_and_an_unknown_field_are_named(cls: Any) -> None:
    document = to_document(build(cls))
    name = dataclasses.fields(cls)[0].name
    with pytest.raises(SchemaError, match="unknown field 'surplus'"):
        from_document(cls, document | {"surplus": 1}, where="here")
    del document[name]
    with pytest.raises(SchemaError, match=f"has no field '{name}'"):
        from_document(cls, document, where="here")


@pytest.mark.parametrize(
    ("field", "value"),
    [("size_bytes", "1"), ("size_bytes", True), ("size_bytes", 1.5), ("artifact", None)],
)
def test_a_wrong_type_is_named_with_its_path(field: str, value: object) -> None:
    document = to_document(build(record.Record))
    document["cell"][field] = value
    with pytest.raises(SchemaError, match=rf"here: cell\.{field} must be"):
        from_document(record.Record, document, where="here")


def test_a_payload_of_an_unknown_kind_is_refused() -> None:
    document = to_document(build(record.Record))
    document["payload"]["kind"] = "smell"
    with pytest.raises(SchemaError, match=r"payload\.kind must be one of latency, accuracy"):
        from_document(record.Record, document, where="here")


def test_a_value_that_the_type_forbids_is_refused() -> None:
    document = to_document(build(specs.InputSpec)) | {"scale": -1.0}
    with pytest.raises(SchemaError, match="scale and std must be positive"):
        from_document(specs.InputSpec, document, where="here")


def test_an_artifact_name_cannot_leave_the_bundle() -> None:
    document = to_document(build(manifest.Manifest))
    document["artifacts"][0]["name"] = "../../etc/passwd"
    with pytest.raises(SchemaError, match="points outside the bundle"):
        from_document(manifest.Manifest, document, where="here")


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "\x00", "[" * 100_000])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(FileFormatError, match="here is not valid JSON"):
        parse_json(text, where="here")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(document=_JSON)
def test_any_other_json_is_refused_and_never_breaks(document: object) -> None:
    for cls in VERSIONED:
        with pytest.raises(SchemaError):
            from_document(cls, document, where="here")


@given(value=_JSON, data=st.data())
def test_a_document_with_one_value_changed_loads_or_is_refused(value: object, data: Any) -> None:
    document = to_document(build(manifest.Manifest))
    document[data.draw(st.sampled_from(sorted(document)))] = value
    try:
        loaded = from_document(manifest.Manifest, document, where="here")
    except (SchemaError, NewerSchemaError):
        return
    assert to_document(loaded) == document


def test_float_fields_accept_whole_numbers() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Length:
        metres: float

    assert from_document(Length, {"metres": 2}, where="here") == Length(metres=2.0)

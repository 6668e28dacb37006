"""Frozen dataclasses to JSON and back; wrong types, unknown and missing fields are refused.

A dataclass that crosses a stage border names its `KIND` and `SCHEMA` (its version) as class
variables; both are written into the document and checked when it is read. Understood field types:
str, int, float, bool, None, Literal, X | None, X | tuple[X, ...], tuple[X, ...], dict[str, X], a
dataclass, and a union of dataclasses told apart by their KIND. A field that came with a later
schema version is declared with `added`; a document without it is an older one and gets the default.
A class whose fields were renamed or restructured has `upgraded(document, schema)`, a static method
that brings an older document, with all that it contains, to the fields of today.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from hemline.errors import NewerSchemaError, SchemaError
from hemline.files import read_json, write_json

T = TypeVar("T")
_LARGEST_INTEGER = 2**63 - 1  # what numpy and other readers of JSON can hold
_ADDED = "added"
_UNIONS = (typing.Union, types.UnionType)


def added(default: Any) -> Any:
    """Declare a dataclass field that older documents do not have."""
    return dataclasses.field(default=default, metadata={_ADDED: True})


def to_document(value: Any) -> Any:
    """Return the JSON form of a dataclass, with `kind` and `schema` where its class has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_document(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {**_header(type(value)), **fields}
    if isinstance(value, tuple):
        # names of images come by the hundred thousand
        return [item if item.__class__ is str else to_document(item) for item in value]
    if isinstance(value, dict):
        return {key: to_document(item) for key, item in value.items()}
    return value


def from_document(cls: type[T], document: Any, *, where: str) -> T:
    """Build a `cls` from its JSON form; `where` names the file in every error.

    Raises NewerSchemaError for a newer schema version, SchemaError for anything that does not fit.
    """
    result: T = _decode(cls, document, where, "")
    return result


def save(path: Path, value: Any) -> None:
    """Write a border dataclass as JSON, whole or not at all."""
    write_json(path, to_document(value))


def load(cls: type[T], path: Path) -> T:
    """Read a border dataclass from a JSON file; errors name the file."""
    return from_document(cls, read_json(path), where=str(path))


def _header(cls: type) -> dict[str, Any]:
    return {name.lower(): getattr(cls, name) for name in ("KIND", "SCHEMA") if hasattr(cls, name)}


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    # Modules that a cold start reads keep their annotations as types; for the others, and only
    # for them, the texts must be evaluated, which takes longer than reading a stamp.
    hints = {field.name: field.type for field in dataclasses.fields(cls)}
    postponed = any(isinstance(hint, str) for hint in hints.values())
    return typing.get_type_hints(cls) if postponed else hints


def _decode(expected: Any, value: Any, where: str, at: str) -> Any:
    origin = typing.get_origin(expected)
    if origin in _UNIONS:
        return _decode_union(typing.get_args(expected), value, where, at)
    if origin is typing.Literal:
        choices = typing.get_args(expected)
        if value not in choices or isinstance(value, bool):
            raise _misfit(where, at, f"one of {', '.join(map(str, choices))}", value)
        return value
    if origin is tuple:
        item = typing.get_args(expected)[0]
        if not isinstance(value, list):
            raise _misfit(where, at, "a list", value)
        if item is int and _are_integers(value):  # latencies: there may be millions
            return tuple(value)
        return tuple(_decode(item, each, where, f"{at}[{i}]") for i, each in enumerate(value))
    if origin is dict:
        item = typing.get_args(expected)[1]
        if not isinstance(value, dict):
            raise _misfit(where, at, "an object", value)
        return {key: _decode(item, each, where, f"{at}.{key}") for key, each in value.items()}
    if dataclasses.is_dataclass(expected):
        return _decode_dataclass(expected, value, where, at)
    return _decode_scalar(expected, value, where, at)


def _are_integers(values: list[Any]) -> bool:
    return set(map(type, values)) == {int} and max(max(values), -min(values)) <= _LARGEST_INTEGER


def _decode_scalar(expected: Any, value: Any, where: str, at: str) -> Any:
    if type(value) is int and abs(value) > _LARGEST_INTEGER:
        raise _misfit(where, at, f"at most {_LARGEST_INTEGER}", value)
    if expected is float and type(value) is int:
        return float(value)
    if expected is type(None) and value is None:
        return None
    # type() and not isinstance(): True is an int to Python, but not to a reader of JSON
    if type(value) is not expected:
        raise _misfit(where, at, expected.__name__, value)
    return value


def _decode_union(members: tuple[Any, ...], value: Any, where: str, at: str) -> Any:
    if value is None and type(None) in members:
        return None
    real = [member for member in members if member is not type(None)]
    if len(real) == 1:
        return _decode(real[0], value, where, at)
    tagged = {member.KIND: member for member in real if hasattr(member, "KIND")}
    if tagged:
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in tagged:
            raise _misfit(where, f"{at}.kind", f"one of {', '.join(tagged)}", kind)
        return _decode(tagged[kind], value, where, at)
    for member in real:
        if (typing.get_origin(member) is tuple) == isinstance(value, list) and len(real) == 2:
            return _decode(member, value, where, at)
    if type(value) not in real:
        raise _misfit(where, at, " or ".join(member.__name__ for member in real), value)
    return value


def _decode_dataclass(cls: Any, value: Any, where: str, at: str) -> Any:
    if not isinstance(value, dict):
        raise _misfit(where, at, f"an object ({cls.__name__})", value)
    _check_header(cls, value, where, at)
    if "SCHEMA" in vars(cls) and value["schema"] < cls.SCHEMA and hasattr(cls, "upgraded"):
        value = _upgraded(cls, value, where, at)
    names = {field.name for field in dataclasses.fields(cls)}
    given = set(value) - set(_header(cls))
    if unknown := sorted(given - names):
        raise SchemaError(f"{where}: {_path(at)} has an unknown field {unknown[0]!r}")
    later = {field.name for field in dataclasses.fields(cls) if _ADDED in field.metadata}
    if missing := sorted(names - given - later):
        raise SchemaError(f"{where}: {_path(at)} has no field {missing[0]!r}")
    hints = _hints(cls)
    fields = {name: _decode(hints[name], value[name], where, f"{at}.{name}") for name in given}
    try:
        return cls(**fields)
    except ValueError as error:
        raise SchemaError(f"{where}: {_path(at)}: {error}") from error


def _upgraded(cls: Any, value: dict[str, Any], where: str, at: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = cls.upgraded(copy.deepcopy(value), value["schema"])
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise SchemaError(f"{where}: {_path(at)} is not a valid {cls.KIND}: {error!r}") from error
    return document


def _check_header(cls: Any, value: dict[str, Any], where: str, at: str) -> None:
    header = _header(cls)
    if "kind" in header and value.get("kind") != header["kind"]:
        raise _misfit(where, f"{at}.kind", repr(header["kind"]), value.get("kind"))
    if "schema" not in header:
        return
    version = value.get("schema")
    if type(version) is not int or version < 1:
        raise _misfit(where, f"{at}.schema", "a version number", version)
    if version > header["schema"]:
        raise NewerSchemaError(
            f"{where} has {header.get('kind', cls.__name__)} schema {version}, this Hemline reads "
            f"versions up to {header['schema']}: upgrade Hemline"
        )


def _path(at: str) -> str:
    return at.lstrip(".") or "the document"


def _misfit(where: str, at: str, expected: str, value: Any) -> SchemaError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return SchemaError(f"{where}: {_path(at)} must be {expected}, not {shown}")

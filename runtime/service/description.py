"""The description of all addresses (OpenAPI), from examples of what they take and answer."""

from __future__ import annotations

from typing import Any

from hemline.version import VERSION

Json = dict[str, Any]
_TOP = [{"label": "a", "score": 0.5}]
_PREDICTION = {"label": "a", "index": 0, "score": 0.5, "known": True, "top": _TOP}
_TENSOR = {"name": "pixels", "datatype": "UINT8", "shape": [1], "data": []}
_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number"}
_FILE, _RAW = {"type": "string", "format": "binary"}, "application/octet-stream"
# some images of a form may be predicted beside one that is wrong
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}, "predictions": {}}}


def schema_of(example: Any) -> Json:
    """Return the schema of documents like an example; lists have items like their first one."""
    if isinstance(example, dict):
        properties = {name: schema_of(value) for name, value in example.items()}
        return {"type": "object", "required": [*properties], "properties": properties}
    if isinstance(example, list):
        return {"type": "array", "items": schema_of(example[0]) if example else {}}
    return {"type": _KINDS[type(example)]}


def described_service(health: Json, model: Json) -> Json:
    """Return the description of a service by its health and the metadata of one of its models."""
    name = {"schema": {"type": "string", "enum": [*health["models"]]}}
    numbers = {"type": "integer", "minimum": 1, "maximum": 99999, "default": 3}
    asked: list[Json] = [{"name": "model", "in": "query", **name}]
    asked.append({"name": "top", "in": "query", "schema": numbers})
    images: Json = dict.fromkeys(("image/*", _RAW), _FILE)
    images["multipart/form-data"] = {"properties": {"image": {"type": "array", "items": _FILE}}}
    tensors = {"application/json": schema_of({"inputs": [_TENSOR]}), _RAW: _FILE}
    inferred = schema_of({"model_name": "a", "id": "", "outputs": [_TENSOR]})
    predicted = {"oneOf": [schema_of(_PREDICTION), schema_of({"predictions": [_PREDICTION]})]}
    gets = dict.fromkeys(("/health", "/v2", "/v2/health/live", "/v2/health/ready"), health)
    gets |= dict.fromkeys(("/v2/models/{name}", "/v2/models/{name}/ready"), model)
    paths: Json = {each: {"get": _operation(schema_of(found))} for each, found in gets.items()}
    paths["/metrics"] = {"get": _operation(schema_of(""), kind="text/plain")}
    paths["/classify"] = {"post": {**_operation(predicted, images), "parameters": asked}}
    paths["/v2/models/{name}/infer"] = {"post": _operation(inferred, tensors)}
    for each in filter(lambda path: "{name}" in path, paths):
        paths[each]["parameters"] = [{"name": "name", "in": "path", "required": True, **name}]
    return {"openapi": "3.1.0", "info": {"title": "Hemline", "version": VERSION}, "paths": paths}


def _operation(answer: Json, body: Json | None = None, kind: str = "application/json") -> Json:
    """Return an operation by the schemas of its answer and of each type of body."""
    errors = {"application/json": {"schema": _ERROR}}
    texts = {"4XX": "a wrong request, or an image that cannot be read", "5XX": "busy, or failed"}
    responses = {code: {"description": text, "content": errors} for code, text in texts.items()}
    responses["200"] = {"description": "the answer", "content": {kind: {"schema": answer}}}
    if body is None:
        return {"responses": responses}
    content = {each: {"schema": schema} for each, schema in body.items()}
    return {"responses": responses, "requestBody": {"required": True, "content": content}}

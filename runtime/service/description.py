"""The description of all addresses (OpenAPI), from examples of what they take and answer."""

from __future__ import annotations

from typing import Any

from hemline.version import VERSION

Json = dict[str, Any]
PREDICTION = {"label": "a", "index": 0, "score": 0.5, "known": True,
              "top": [{"label": "a", "score": 0.5}]}  # fmt: skip
_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number"}
_TEXT: Json = {"type": "string"}
_FILE = {"type": "string", "format": "binary"}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_TENSOR = {"name": "pixels", "datatype": "UINT8", "shape": [1], "data": []}


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
    path = {"name": "name", "in": "path", "required": True, **name}
    numbers = {"type": "integer", "minimum": 1, "maximum": 99999, "default": 3}
    asked: list[Json] = [{"name": "model", "in": "query", **name}]
    asked += [{"name": "top", "in": "query", "schema": numbers}]
    many = schema_of({"predictions": [PREDICTION]})
    failed = {"oneOf": [_ERROR, {"type": "object", "required": ["predictions"]}]}
    images: Json = dict.fromkeys(("image/*", "application/octet-stream"), _FILE)
    images["multipart/form-data"] = {"properties": {"image": {"type": "array", "items": _FILE}}}
    tensors = {"application/json": schema_of({"inputs": [_TENSOR]}),
               "application/octet-stream": _FILE}  # fmt: skip
    inferred = schema_of({"model_name": "a", "id": "", "outputs": [_TENSOR]})
    gets = dict.fromkeys(("/health", "/v2", "/v2/health/live", "/v2/health/ready"), health)
    gets |= dict.fromkeys(("/v2/models/{name}", "/v2/models/{name}/ready"), model)
    paths: Json = {each: {"get": _operation(schema_of(found))} for each, found in gets.items()}
    paths["/metrics"] = {"get": _operation(_TEXT)}
    classify = _operation({"oneOf": [schema_of(PREDICTION), many]}, images, failed)
    paths["/classify"] = {"post": {**classify, "parameters": asked}}
    paths["/v2/models/{name}/infer"] = {"post": _operation(inferred, tensors)}
    for each in paths:
        if "{name}" in each:
            paths[each]["parameters"] = [path]
    info = {"title": "Hemline", "version": VERSION}
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def _operation(answer: Json, body: Json | None = None, bad: Json = _ERROR) -> Json:
    """Return an operation by the schemas of its answer, of each type of body, and of a 422."""
    described = {"200": "the answer", "422": "the content is wrong", "4XX": "a wrong request",
                 "5XX": "busy, or failed"}  # fmt: skip
    responses = {}
    for status, text in described.items():
        schema = {"200": answer, "422": bad}.get(status, _ERROR)
        kind = "text/plain" if schema == _TEXT else "application/json"
        responses[status] = {"description": text, "content": {kind: {"schema": schema}}}
    if body is None:
        return {"responses": responses}
    content = {each: {"schema": schema} for each, schema in body.items()}
    return {"responses": responses, "requestBody": {"required": True, "content": content}}

"""The Open Inference Protocol v2, in JSON and with binary tensors: pixels in, label and scores out.

Specification: https://github.com/kserve/open-inference-protocol and, for binary tensors,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import struct
from math import prod
from typing import Any

import numpy as np
from fastapi import Response
from starlette.exceptions import HTTPException

from hemline.contract.stamp import Stamp
from hemline.pictures.pixels import Pixels
from hemline.runtime.decoder import Prediction, scores_of

HEADER_SIZE = "Inference-Header-Content-Length"


def described_model(name: str, stamp: Stamp) -> dict[str, Any]:
    """Return the metadata of a model."""
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [-1, *stamp.input.shape]}
    label = {"name": "label", "datatype": "BYTES", "shape": [-1]}
    scores = {"name": "scores", "datatype": "FP32", "shape": [-1, stamp.output.size]}
    model = {"name": name, "platform": stamp.format, "versions": []}
    return {**model, "inputs": [pixels], "outputs": [label, scores]}


def read_request(body: bytes, head: str | None, shape: tuple[int, ...]) -> tuple[Any, Pixels]:
    """Return the JSON of a request and its images, each of `shape`; raises HTTPException.

    `head` is the size of the JSON in front of a binary tensor, None without one.
    """
    try:
        size = len(body) if head is None else int(head)
        request = json.loads(body[:size])
        (tensor,), outputs = request["inputs"], {name for name, _ in _wanted(request)}
        given = np.frombuffer(body[size:], "u1") if head else np.asarray(tensor["data"]).ravel()
        values, kind = given.astype(np.uint8), (tensor["name"], tensor["datatype"])
        sizes = tensor["shape"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        text = "this is not a request of the Open Inference Protocol v2 with one input"
        raise HTTPException(400, text) from error
    if kind != ("pixels", "UINT8") or outputs - {"label", "scores"}:
        raise HTTPException(422, "the input is pixels (UINT8), the outputs are label and scores")
    if not np.array_equal(given, values):
        raise HTTPException(422, "pixels are whole numbers from 0 to 255")
    count, rest = divmod(len(values), prod(shape))
    if not count or rest or sizes != [count, *shape]:
        text = f"the shape must be [n, {', '.join(map(str, shape))}], with as many values"
        raise HTTPException(422, text)
    return request, values.reshape(sizes)


def response(name: str, request: Any, predictions: list[Prediction]) -> Response:
    """Return the response to a request that was read."""
    parts, outputs = list[bytes](), []
    scores, labels = scores_of(predictions), [each.label for each in predictions]
    for output, binary in _wanted(request):
        tensor: dict[str, Any] = {"name": output}
        if output == "label":
            tensor |= {"datatype": "BYTES", "shape": [len(labels)], "data": labels}
            content = b"".join(struct.pack("<I", len(x)) + x for x in map(str.encode, labels))
        else:
            tensor |= {"datatype": "FP32", "shape": scores.shape, "data": scores.ravel().tolist()}
            content = scores.astype("<f4").tobytes()
        if binary:
            del tensor["data"]
            tensor["parameters"] = {"binary_data_size": len(content)}
            parts.append(content)
        outputs.append(tensor)
    head = json.dumps(
        {"model_name": name, "id": request.get("id", ""), "outputs": outputs}
    ).encode()
    kind, headers = "application/octet-stream", {HEADER_SIZE: str(len(head))}
    return Response(b"".join((head, *parts)), 200, headers, kind if parts else "application/json")


def _wanted(request: Any) -> list[tuple[str, bool]]:
    """Return (name, whether in binary) of each output."""
    every = request.get("parameters", {}).get("binary_data_output", False)
    outputs = request.get("outputs") or [{"name": "label"}, {"name": "scores"}]
    return [(x["name"], x.get("parameters", {}).get("binary_data", every)) for x in outputs]

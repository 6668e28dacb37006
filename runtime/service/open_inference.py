"""The Open Inference Protocol v2, in JSON and with binary tensors: pixels in, predictions out.

Specification: https://github.com/kserve/open-inference-protocol and, for binary tensors,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable
from math import isfinite, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import Response
from starlette.exceptions import HTTPException

from hemline.contract.stamp import Stamp
from hemline.errors import HemlineError
from hemline.files import parse_json
from hemline.pictures.pixels import Pixels
from hemline.runtime.decoder import Prediction, scores_of

if TYPE_CHECKING:
    import numpy.typing as npt

HEADER_SIZE = "Inference-Header-Content-Length"
_MALFORMED = (HemlineError, ValueError, TypeError, LookupError, AttributeError, OverflowError)


def described_model(name: str, stamp: Stamp) -> dict[str, Any]:
    """Return the metadata of a model."""
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [-1, *stamp.input.shape]}
    label = {"name": "label", "datatype": "BYTES", "shape": [-1]}
    scores = {"name": "scores", "datatype": "FP32", "shape": [-1, stamp.output.size]}
    model = {"name": name, "platform": stamp.format, "versions": []}
    outputs: list[dict[str, Any]] = [label, scores]
    if stamp.embedding is not None:
        size = stamp.embedding.size
        outputs.append({"name": "embedding", "datatype": "FP32", "shape": [-1, size]})
    return {**model, "inputs": [pixels], "outputs": outputs}


def read_request(body: bytes, head: str | None, stamp: Stamp) -> tuple[Any, Pixels]:
    """Return the JSON of a request and its images (n, height, width, channels).

    `head` is the size of the JSON in front of a binary tensor, None without one. Gray images need
    no channel axis. Raises HTTPException.
    """
    shape = stamp.input.shape
    try:
        wrong = f"{HEADER_SIZE} is not the size of its JSON"
        size = len(body) if head is None else range(len(body) + 1)[int(head)]
        wrong = "it is not valid JSON"
        request = parse_json(body[:size], where="the request")
        wrong = "inputs is not a list of one tensor with name, datatype and shape"
        (tensor,) = request["inputs"]
        kind, sizes = (tensor["name"], tensor["datatype"]), tensor["shape"]
        wrong = "its outputs or parameters are not those of the protocol"
        outputs = Counter(name for name, _ in _wanted(request))
        wrong = "the tensor has no data of numbers, in JSON or behind it"
        given = np.frombuffer(body[size:], "u1") if head else np.asarray(tensor["data"]).ravel()
        values = given.astype(np.uint8)
    except _MALFORMED as error:
        text = f"this is not a request of the Open Inference Protocol v2: {wrong}"
        raise HTTPException(400, text) from error
    if kind != ("pixels", "UINT8"):
        text = " ".join(map(str, kind))[:80]
        raise HTTPException(422, f"the input is pixels of datatype UINT8, not {text}")
    known = [output["name"] for output in described_model("", stamp)["outputs"]]
    if more := outputs - Counter(known):
        text = f"the outputs are {', '.join(known)}, each once: not {str(next(iter(more)))[:80]}"
        raise HTTPException(422, text)
    if not np.array_equal(given, values):
        raise HTTPException(422, "pixels are whole numbers from 0 to 255")
    count, rest = divmod(len(values), prod(shape))
    fit = [[count, *shape], [count, *shape[:2]]][: 1 + (shape[2] == 1)]
    if not count or rest or sizes not in fit:
        text = f"the shape must be [n, {', '.join(map(str, shape))}], with as many values"
        raise HTTPException(422, text)
    return request, values.reshape(-1, *shape)


def response(
    name: str,
    request: Any,
    predictions: list[Prediction],
    embed: Callable[[], npt.NDArray[np.float32]],
) -> Response:
    """Return the response to a request that was read; `embed` is called if it names embeddings."""
    parts, outputs = list[bytes](), []
    labels = [each.label for each in predictions]
    for output, binary in _wanted(request):
        tensor: dict[str, Any] = {"name": output}
        if output == "label":
            tensor |= {"datatype": "BYTES", "shape": [len(labels)], "data": labels}
            content = b"".join(struct.pack("<I", len(x)) + x for x in map(str.encode, labels))
        else:
            real = embed() if output == "embedding" else scores_of(predictions)
            values = real.ravel().tolist()
            if not np.isfinite(real).all():  # JSON has no NaN
                values = [each if isfinite(each) else None for each in values]
            tensor |= {"datatype": "FP32", "shape": real.shape, "data": values}
            content = real.astype("<f4").tobytes()
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
    every = (request.get("parameters") or {}).get("binary_data_output", False)
    outputs = request.get("outputs") or [{"name": "label"}, {"name": "scores"}]
    return [(x["name"], (x.get("parameters") or {}).get("binary_data", every)) for x in outputs]

"""`hemline serve`: what it answers, what it refuses, and that nothing it accepted is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.exceptions import HTTPException

from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import MANIFEST_NAME, read_manifest
from hemline.contract.monitoring import Counts
from hemline.contract.specs import OutputSpec
from hemline.contract.stamp import read_stamped
from hemline.errors import BackendError, UsageError
from hemline.files import replacing
from hemline.runtime import Classifier
from hemline.runtime.classification import documents_of
from hemline.runtime.command_line import main
from hemline.runtime.decoder import Decoder, Prediction
from hemline.runtime.service import open_inference
from hemline.runtime.service.answers import text_of
from hemline.runtime.service.models import Served
from hemline.runtime.service.page import page_files

RAW = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}
PATIENCE = 60.0  # seconds; of a busy machine


class Server:
    """A service in a process of its own."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [Path(sys.executable).with_name("hemline"), "serve", *arguments, "--port", "0"]
        self.process = subprocess.Popen(
            [*map(str, command)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert self.process.stderr is not None
        found = re.search(r"at http://127.0.0.1:(\d+)", self.process.stderr.readline())
        assert found is not None
        self.port = int(found[1])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            content = response.read()
            kind = response.headers["Content-Type"]
            return response.status, json.loads(content) if kind == JSON["Content-Type"] else content

    def begun(self, content: bytes, size: int, kind: str = RAW["Content-Type"]) -> socket.socket:
        """Return a connection on which an upload of `size` bytes began with `content`."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        head = f"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n"
        connection.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode() + content)
        return connection

    def resident_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1000

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module")
def pixels(bundle: Path) -> np.ndarray:
    return load_split(bundle, "test", read_manifest(bundle).evaluation_sha256).images[:100]


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Server]:
    limits = ("--max-mb", "1", "--max-requests", "4", "--timeout", "1")
    running = Server(bundle / "int8.tflite", bundle / "int8.onnx", *limits)
    yield running
    assert running.end() == 0


def png(image: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image.squeeze()).save(stream, "PNG", **options)
    return stream.getvalue()


def form(*files: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """Return a form's body and headers; a file without a name is a text."""
    body = b""
    for name, content in files:
        called = f'; filename="{name}"' if name else ""
        head = f'--x\r\nContent-Disposition: form-data; name="a"{called}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def test_an_image_file_is_answered_with_the_json_of_classify(
    server: Server,
    bundle: Path,
    pixels: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(pixels[0]))
    assert main(["classify", str(bundle / "int8.tflite"), str(path), "--json"]) == 0
    expected = json.loads(capsys.readouterr().out) | {"image": "a.png"}
    assert server.ask("POST", "/classify", *form(("a.png", path.read_bytes()))) == (
        200,
        {"predictions": [expected]},
    )
    del expected["image"]
    for kind in ({}, {"Content-Type": "image/png"}):
        assert server.ask("POST", "/classify", path.read_bytes(), kind) == (200, expected)


@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx"])
@pytest.mark.parametrize("count", [1, 8, 100])
def test_raw_pixels_are_classified_as_the_classifier_does(
    server: Server, bundle: Path, pixels: np.ndarray, name: str, count: int
) -> None:
    sent = np.ascontiguousarray(pixels[:count]).tobytes()
    status, found = server.ask("POST", f"/classify?model={name}&top=2", sent, RAW)
    with Classifier.load(bundle / name) as classifier:
        expected = documents_of(classifier.classify_batch(pixels[:count]), 2)
    rows = [found] if count == 1 else found["predictions"]
    assert status == 200
    assert [(x["label"], x["index"]) for x in rows] == [(x["label"], x["index"]) for x in expected]
    assert all(len(row["top"]) == 2 for row in rows)
    # rounded to six digits, of float32 by two ways to sum
    assert [x["score"] for x in rows] == pytest.approx([x["score"] for x in expected], abs=2e-6)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("odd", [None, np.nan, np.inf])
@pytest.mark.parametrize("distance", [None, 0.25])
@pytest.mark.parametrize("top", [1, 9])
def test_the_json_that_is_written_at_once_is_that_of_the_documents(
    count: int, odd: float | None, distance: float | None, top: int
) -> None:
    labels = ('50% "off"', "naïve", "unknown")
    decoder = Decoder(OutputSpec(size=3, dtype="float32"), labels, unknown_threshold=0.5)
    rows = np.float32([[9, 0, 1], [1, 1, 1], [0, 0, 9], [0, 9, 0], [5, 5, 5]])[:count]
    if odd is not None:
        rows[-1, 1] = odd
    with np.errstate(invalid="ignore"):  # inf − inf
        found = [
            Prediction(x.index, x.score, x.stored, decoder, distance)
            for x in decoder.decode_batch(rows)
        ]
        text, expected = text_of(found, labels, top), documents_of(found, top)
    assert json.loads(f"[{text}]") == expected


def test_a_file_of_a_form_that_cannot_be_read_stops_no_other(
    server: Server, pixels: np.ndarray
) -> None:
    whole = png(pixels[0])
    files = form(("a.png", whole), ("cut.png", whole[:60]), ("no.txt", b"no image"))
    status, found = server.ask("POST", "/classify", *files)
    first, second, third = found["predictions"]
    assert (status, first["image"], second["image"], third["image"]) == (
        *(422, "a.png", "cut.png"),
        "no.txt",
    )
    assert "label" in first
    assert second["error"].startswith("cannot read the image: ")
    assert third["error"] == "the image is not a readable image: cannot identify image file"


INFER = "/v2/models/int8.onnx/infer"
_SIZE = struct.pack(">4sIIBBBBB", b"IHDR", 100_000, 100_000, 8, 0, 0, 0, 0)
HUGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + _SIZE + struct.pack(">I", zlib.crc32(_SIZE))
HUGE += bytes(4) + b"IDAT" + bytes(4)


def named(name: str, datatype: str) -> bytes:
    tensor = {"name": name, "datatype": datatype, "shape": [1], "data": [1]}
    return json.dumps({"inputs": [tensor]}).encode()


REFUSED: dict[str, tuple[str, str, dict[str, str], bytes, int, str]] = {
    "no such address": ("GET", "/etc/passwd", {}, b"", 404, "there is no such address"),
    "no such method": ("GET", "/classify", {}, b"", 405, "/classify takes POST"),
    "no such model": ("POST", "/classify?model=int8.tflit", {}, b"", 404, "unknown model"),
    "text": ("POST", "/classify", {"Content-Type": "text/plain"}, b"a", 415, "send an image file"),
    "nothing": ("POST", "/classify", {}, b"", 422, "the image is not a readable image"),
    "half an image": ("POST", "/classify", RAW, bytes(785), 422, "raw pixels of this model have"),
    "no raw image": ("POST", "/classify", RAW, b"", 422, "raw pixels of this model have 784 bytes"),
    "no file": ("POST", "/classify", *reversed(form()), 422, "the form has no files"),
    "no boundary": (
        *("POST", "/classify", {"Content-Type": "multipart/form-data"}, b"a", 400),
        "this is not a whole form with its boundary",
    ),
    "a misspelt parameter": (
        "POST",
        "/classify?Model=a",
        RAW,
        bytes(784),
        422,
        "takes model and top, each once, not 'Model'",
    ),
    "a parameter for others": (
        "POST",
        f"{INFER}?top=1",
        JSON,
        b"{}",
        422,
        "takes no parameters, not 'top'",
    ),
    "two models": (
        "POST",
        "/classify?model=a&model=b",
        RAW,
        bytes(784),
        422,
        "each once, not 'model'",
    ),
    "an empty model": ("POST", "/classify?model=", RAW, bytes(784), 404, "unknown model ''"),
    "a model in the form": (
        *("POST", "/classify", *reversed(form(("", b"int8.onnx"), ("a.png", b"a"))), 422),
        "the form's field 'a' is text",
    ),
    "too many files": (
        *("POST", "/classify", *reversed(form(*[("a.png", b"a")] * 257)), 400),
        "a form can have at most 256 files",
    ),
    "compressed": (
        *("POST", "/classify", {"Content-Encoding": "gzip"}, b"a", 415),
        "Content-Encoding is not supported",
    ),
    "a wrong top": ("POST", "/classify?top=0", RAW, bytes(784), 422, "top must be a whole number"),
    "a large body": ("POST", "/classify", RAW, bytes(1_000_001), 413, "at most 1 MB"),
    "an image bomb": (
        *("POST", "/classify", {}, png(np.zeros((5001, 5000), bool)), 422),
        "the image has 5000 × 5001 pixels: scale it down first",
    ),
    "an enormous image bomb": (
        *("POST", "/classify", {}, HUGE, 422),
        "the image has 10,000,000,000 pixels: scale it down first",
    ),
    "a wrong head": (
        *("POST", INFER, {"Inference-Header-Content-Length": "9"}, b"{}", 400),
        "Inference-Header-Content-Length is not the size",
    ),
    "an input of another name": ("POST", INFER, JSON, named("x", "UINT8"), 422, "not x UINT8"),
    "an input of another type": (
        "POST",
        INFER,
        JSON,
        named("pixels", "FP32"),
        422,
        "not pixels FP32",
    ),
    "no JSON": (
        "POST",
        "/v2/models/int8.onnx/infer",
        JSON,
        b"[" * 9000,
        400,
        "v2: it is not valid JSON",
    ),
    "no inputs": (
        "POST",
        "/v2/models/int8.onnx/infer",
        JSON,
        b"{}",
        400,
        "v2: inputs is not a list",
    ),
    "no model": ("POST", "/v2/models/a/infer", JSON, b"{}", 404, "unknown model 'a'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_gets_a_status_and_one_sentence(server: Server, case: str) -> None:
    method, path, headers, body, status, sentence = REFUSED[case]
    found, answer = server.ask(method, path, body, headers)
    assert found == status
    assert list(answer) == ["error"]
    assert sentence in answer["error"]
    assert "\n" not in answer["error"]
    assert os.sep + "home" not in answer["error"]


def test_an_upload_without_a_length_is_refused(server: Server) -> None:
    with contextlib.closing(server.connect()) as connection:
        connection.request("POST", "/classify", iter([b"a"]), {}, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())) == (
            411,
            {"error": "the header Content-Length is missing"},
        )


@pytest.mark.slow
def test_uploads_that_are_slow_or_cut_leave_room_for_others(
    server: Server, pixels: np.ndarray
) -> None:
    uploads = [server.begun(b"a", 784) for _ in range(4)]
    busy = 0
    while busy < 4:
        busy = int(re.findall(rb"in_progress (\d+)", server.ask("GET", "/metrics")[1])[0])
    status, found = server.ask("POST", "/classify", pixels[0].tobytes(), RAW)
    assert (status, found["error"]) == (429, "the limit is 4 requests in progress: try again later")
    uploads.pop().close()  # cut off
    for upload in uploads:
        assert b"408" in upload.recv(12)
        upload.close()
    assert server.ask("POST", "/classify", pixels[0].tobytes(), RAW)[0] == 200


def tensor(images: np.ndarray, **changes: Any) -> dict[str, Any]:
    given = {"name": "pixels", "datatype": "UINT8", "shape": list(images.shape)}
    return given | {"data": images.ravel().tolist()} | changes


@pytest.mark.parametrize("count", [1, 100])
def test_the_open_inference_protocol_gives_the_same_in_json_and_in_binary(
    server: Server, bundle: Path, pixels: np.ndarray, count: int
) -> None:
    sent, url = np.ascontiguousarray(pixels[:count]), "/v2/models/int8.onnx/infer"
    with Classifier.load(bundle / "int8.onnx") as classifier:
        labels = [each.label for each in classifier.classify_batch(sent)]
        scores = classifier.scores(sent)
    status, found = server.ask("POST", url, json.dumps({"inputs": [tensor(sent)]}).encode(), JSON)
    assert status == 200
    assert found["outputs"][0]["data"] == labels
    assert np.array_equal(np.float32(found["outputs"][1]["data"]).reshape(count, -1), scores)

    binary = {"id": "7", "parameters": {"binary_data_output": True}}
    inputs = [tensor(sent, parameters={"binary_data_size": sent.size})]
    head = json.dumps(binary | {"inputs": inputs}).encode()
    sizes = {"Inference-Header-Content-Length": str(len(head))}
    with contextlib.closing(server.connect()) as connection:
        connection.request("POST", url, head + sent.tobytes(), RAW | sizes)
        response = connection.getresponse()
        content = response.read()
    size = int(response.headers["Inference-Header-Content-Length"])
    document, texts = json.loads(content[:size]), content[size : -4 * scores.size]
    assert (document["id"], document["model_name"]) == ("7", "int8.onnx")
    assert [x["datatype"] for x in document["outputs"]] == ["BYTES", "FP32"]
    assert texts == b"".join(struct.pack("<I", len(x)) + x.encode() for x in labels)
    assert content[-4 * scores.size :] == scores.astype("<f4").tobytes()


def test_an_output_that_is_named_again_and_again_is_refused(
    server: Server, pixels: np.ndarray
) -> None:
    outputs = {"outputs": [{"name": "scores"}] * 2}  # 100,000 would fill the memory
    body = json.dumps(outputs | {"inputs": [tensor(pixels[:1])]}).encode()
    status, found = server.ask("POST", "/v2/models/int8.onnx/infer", body, JSON)
    assert status == 422
    assert "the outputs are label, scores, each once: not scores" in found["error"]


@pytest.mark.medium  # a server of its own
def test_the_open_inference_protocol_gives_embeddings_that_are_asked_for(
    embedding_bundle: Path, pixels: np.ndarray
) -> None:
    path = embedding_bundle / "int8.tflite"
    server, url = Server(path), "/v2/models/int8.tflite"
    sent = np.ascontiguousarray(pixels[:3, ..., 0])  # gray images need no channel axis
    try:
        described = server.ask("GET", url)[1]["outputs"][-1]
        names = {"outputs": [{"name": "embedding"}, {"name": "label"}]}
        body = json.dumps(names | {"inputs": [tensor(sent)]}).encode()
        status, found = server.ask("POST", f"{url}/infer", body, JSON)
    finally:
        assert server.end() == 0
    with Classifier.load(path) as classifier:
        expected = classifier.embed(sent)
    assert described == {"name": "embedding", "datatype": "FP32", "shape": [-1, expected.shape[1]]}
    embedding, label = found["outputs"]
    assert (status, embedding["shape"]) == (200, list(expected.shape))
    assert np.array_equal(np.float32(embedding["data"]), expected.ravel())
    assert len(label["data"]) == 3


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"shape": [1, 28, 28]}, 200),
        ({"shape": [28, 28, 1]}, 422),
        ({"data": [0.5] * 784}, 422),
        ({"data": [256] * 784}, 422),
        ({"data": [-1] * 784}, 422),
        ({"data": ["a"] * 784}, 400),
        ({"data": [10**30] * 784}, 400),
        ({"data": [[1], [1, 2]]}, 400),
        ({"data": []}, 422),
        ({"shape": [2, 28, 28, 1]}, 422),
        ({"shape": "a"}, 422),
        ({"datatype": "FP32"}, 422),
        ({"parameters": 1}, 200),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(
    server: Server, pixels: np.ndarray, changes: dict[str, Any], status: int
) -> None:
    body = json.dumps({"inputs": [tensor(pixels[:1], **changes)]}).encode()
    found, answer = server.ask("POST", "/v2/models/int8.onnx/infer", body, JSON)
    assert (found, "error" in answer) == (status, status != 200)


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "1e999"])
def test_an_id_that_json_does_not_have_is_refused(
    server: Server, pixels: np.ndarray, odd: str
) -> None:
    body = json.dumps({"id": "odd", "inputs": [tensor(pixels[:1])]}).replace('"odd"', odd)
    status, found = server.ask("POST", "/v2/models/int8.onnx/infer", body.encode(), JSON)
    assert (status, "not a request of" in found["error"]) == (400, True)


def test_what_a_request_leaves_out_may_be_null(server: Server, pixels: np.ndarray) -> None:
    outputs = [{"name": "label", "parameters": None}]
    asked = {"id": None, "parameters": None, "outputs": outputs, "inputs": [tensor(pixels[:1])]}
    status, found = server.ask(
        "POST", "/v2/models/int8.onnx/infer", json.dumps(asked).encode(), JSON
    )
    assert (status, found["id"], len(found["outputs"])) == (200, None, 1)


def test_scores_that_json_does_not_have_are_null() -> None:
    decoder = Decoder(OutputSpec(size=2, dtype="float32"), ("a", "b"))
    with np.errstate(invalid="ignore"):
        found = decoder.decode_batch(np.float32([[0, np.nan], [1, 1]]))
        answer = open_inference.response("a", {}, found, lambda: np.empty((2, 0), np.float32))
    assert json.loads(answer.body)["outputs"][1]["data"] == [None, None, 0.5, 0.5]


def test_the_service_says_what_it_serves(server: Server, bundle: Path) -> None:
    with Classifier.load(bundle / "int8.onnx") as classifier:
        digest = classifier.stamp.payload_sha256
    for path in ("/health", "/v2", "/v2/health/live", "/v2/health/ready"):
        status, found = server.ask("GET", path)
        assert status == 200
        served = {"artifact": "int8.onnx", "runtime": f"onnxruntime {version('onnxruntime')}"}
        assert found["models"]["int8.onnx"] == {"sha256": digest, "intact": True, **served}
    assert server.ask("GET", "/favicon.ico")[0] == 404
    assert server.ask("POST", "/classify", bytes(784), RAW)[0] == 200
    _, model = server.ask("GET", "/v2/models/int8.onnx")
    assert model["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}]
    counted = server.ask("GET", "/metrics")[1].decode()
    for each in ('"/classify",status="200"', '"/health",status="200"', '"other",status="404"'):
        assert f"hemline_requests_total{{route={each}}}" in counted
    assert all(re.fullmatch(r"[a-z_]+(\{.*\})? [\d.e-]+", x) for x in counted.splitlines())


def test_the_description_has_all_addresses_with_what_they_take_and_answer(
    server: Server, pixels: np.ndarray
) -> None:
    found = server.ask("GET", "/openapi.json")[1]
    assert found["openapi"] == "3.1.0"
    for path, operations in found["paths"].items():
        declared = {each["name"] for each in operations.get("parameters", ())}
        assert set(re.findall(r"\{(\w+)\}", path)) == declared
        address = path.replace("{name}", "int8.onnx")
        assert server.ask("PATCH", address)[0] == 405, "it is one that is served"
        for method in operations.keys() - {"parameters"}:
            answers = operations[method]["responses"]
            assert {"200", "4XX", "5XX"} == set(answers)
            assert all(each["description"] and each["content"] for each in answers.values())
            (kind,) = answers["200"]["content"]
            if method == "get" and kind == "application/json":
                schema = answers["200"]["content"][kind]["schema"]
                assert set(schema["required"]) == set(server.ask("GET", address)[1])
    classify = found["paths"]["/classify"]["post"]
    assert [each["name"] for each in classify["parameters"]] == ["model", "top"]
    assert set(classify["requestBody"]["content"]) > {"image/*", "multipart/form-data"}
    one, many = classify["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"]
    for schema, count in ((one, 1), (many, 2)):
        answer = server.ask("POST", "/classify", pixels[:count].tobytes(), RAW)[1]
        assert set(schema["required"]) == set(answer)


def test_a_port_in_use_and_two_of_one_name_are_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copy(bundle / "int8.onnx", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(BackendError, match=f"port {port} of 127.0.0.1 cannot be used: "):
            cli.main(["serve", str(bundle), "--port", port], standalone_mode=False)
    twice = [str(bundle / "int8.onnx"), str(tmp_path / "int8.onnx")]
    with pytest.raises(UsageError, match="two artifacts have the same name"):
        cli.main(["serve", *twice], standalone_mode=False)


@pytest.mark.medium  # a server of its own
def test_predictions_are_counted_by_whichever_way_they_come(
    bundle: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    server = Server(bundle / "int8.tflite", "--monitor", tmp_path, "--keep-unsure", "2")
    body = json.dumps({"inputs": [tensor(pixels[:5])]}).encode()
    for path, sent, headers in (
        ("/classify", pixels[0].tobytes(), RAW),
        ("/classify", pixels[:8].tobytes(), RAW),
        ("/classify", png(pixels[0]), {}),
        ("/classify", *form(("a.png", png(pixels[1])), ("b.png", png(pixels[2])))),
        ("/v2/models/int8.tflite/infer", body, JSON),
    ):
        assert server.ask("POST", path, sent, headers)[0] == 200
    assert server.end() == 0
    (folder,) = tmp_path.iterdir()
    counts = [schema.load(Counts, each) for each in (folder / "windows").iterdir()]
    assert sum(sum(each.labels) for each in counts) == 1 + 8 + 1 + 2 + 5
    assert len([*(folder / "unsure").glob("*.png")]) == 2


@pytest.mark.medium  # a server of its own
def test_pages_of_an_origin_that_is_named_may_ask(bundle: Path, pixels: np.ndarray) -> None:
    server, origin = Server(bundle, "--allow-origin", "https://a.example"), "https://a.example"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a"}
    with contextlib.closing(server.connect()) as connection:
        for method, sender, status, allowed in (
            ("OPTIONS", origin, 200, origin),
            ("OPTIONS", f"{origin}.evil", 400, None),
            ("POST", origin, 200, origin),
            ("POST", f"{origin}.evil", 200, None),
        ):
            headers = {"Origin": sender, **RAW} | (asked if method == "OPTIONS" else {})
            connection.request(method, "/classify", pixels[0].tobytes(), headers)
            response = connection.getresponse()
            response.read()
            found = (response.status, response.headers["Access-Control-Allow-Origin"])
            assert found == (status, allowed)
    assert server.end() == 0


def test_an_origin_has_no_path(bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"--allow-origin takes https://example.com or \*, not"):
        cli.main(["serve", str(bundle), "--allow-origin", "https://a/"], standalone_mode=False)


def test_images_to_keep_need_a_folder(bundle: Path) -> None:
    with pytest.raises(UsageError, match="--keep-unsure stores images in the folder of --monitor"):
        cli.main(["serve", str(bundle), "--keep-unsure", "2"], standalone_mode=False)


def test_a_page_whose_runtime_cannot_be_fetched_is_refused_in_one_sentence(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    path = bundle / "int8.tflite"
    with pytest.raises(HTTPException) as caught:
        page_files(path.read_bytes(), read_stamped(path).stamp, "a title")
    assert (caught.value.status_code, caught.value.detail) == (
        503,
        "the page cannot be made: the log says why",
    )
    assert "the npm package @litertjs/core" in caplog.text


def test_a_served_bundle_says_which_file_it_is_and_keeps_it(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    manifest = dataclasses.replace(read_manifest(copy), recommended="fp16.tflite")
    schema.save(copy / MANIFEST_NAME, manifest)
    served = Served(copy, "litert", 1)
    litert = f"litert {version('ai-edge-litert')}"
    assert served.model.why == f"fp16.tflite, {litert}: recommended"
    content = (copy / "fp16.tflite").read_bytes()
    schema.save(copy / MANIFEST_NAME, dataclasses.replace(manifest, recommended=None))
    served.refresh()
    assert served.model.why.endswith(f"{litert}: the smallest that passed")
    served = Served(copy / "fp16.tflite", None, 1)
    assert served.model.why == litert
    (copy / "fp16.tflite").write_bytes(content[:20_000])
    served.refresh()
    assert "the old version stays: the file is damaged, or Hemline did not export" in caplog.text
    assert (served.intact, served.model.content == content) == (False, True)


@pytest.mark.slow
def test_what_was_accepted_before_sigterm_is_answered(bundle: Path, pixels: np.ndarray) -> None:
    server = Server(bundle)
    image = pixels[0].tobytes()
    uploads = [server.begun(image[:400], 784) for _ in range(8)]
    while b"in_progress 8" not in server.ask("GET", "/metrics")[1]:
        pass
    server.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(OSError):  # until it accepts no more
        while True:
            socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE).close()
    for upload in uploads:
        upload.sendall(image[400:])
        assert b"200 OK" in upload.recv(4096)
        upload.close()
    assert server.process.wait(PATIENCE) == 0
    assert server.process.stderr is not None
    assert server.process.stderr.read() == ""
    server.process.stderr.close()


def test_a_file_that_is_being_written_is_no_new_version(bundle: Path, tmp_path: Path) -> None:
    served = Served(shutil.copytree(bundle, tmp_path / "bundle"), None, workers=1)
    model = served.model
    with replacing(tmp_path / "bundle" / "int8.tflite"):  # beside it, hidden, until it is whole
        served.refresh()
    assert (served.model, served.intact) == (model, True)


@pytest.mark.slow
def test_an_artifact_is_replaced_under_load_without_a_lost_request(
    bundle: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    served, files = tmp_path / "model.tflite", [bundle / "int8.tflite", bundle / "fp32.tflite"]
    shutil.copy(files[0], served)
    server = Server(served)
    statuses, resident = list[int](), list[float]()
    ended = threading.Event()

    def ask() -> None:  # 100 requests a second, at most
        with contextlib.closing(server.connect()) as connection:
            while not ended.is_set():
                connection.request("POST", "/classify", pixels[0].tobytes(), RAW)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
                time.sleep(0.01)

    def digest() -> str:
        text: str = server.ask("GET", "/health")[1]["models"]["model.tflite"]["sha256"]
        return text

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(20):
        before = digest()
        shutil.copy(files[(number + 1) % 2], tmp_path / "new")
        (tmp_path / "new").replace(served)
        deadline = time.monotonic() + PATIENCE
        while digest() == before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert digest() != before
        resident.append(server.resident_mb())
    assert resident[-1] - resident[4] < 20  # a version that is not freed takes 4 MB
    served.write_bytes(served.read_bytes()[:40_000])  # altered: the old one stays
    while server.ask("GET", "/health")[1]["models"]["model.tflite"]["intact"]:
        time.sleep(0.02)
    assert server.ask("POST", "/classify", pixels[0].tobytes(), RAW)[0] == 200
    ended.set()
    for thread in threads:
        thread.join()
    assert server.end() == 0
    assert len(statuses) > 100
    assert set(statuses) == {200}


@pytest.mark.slow
def test_a_thousand_open_connections_keep_nobody_from_an_answer(
    bundle: Path, pixels: np.ndarray
) -> None:
    server, image = Server(bundle), pixels[0].tobytes()
    head = f"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: {RAW['Content-Type']}\r\n"
    request = f"{head}Content-Length: {len(image)}\r\n\r\n".encode() + image
    with contextlib.ExitStack() as stack:
        waiting = []
        for number in range(1000):
            address = ("127.0.0.1", server.port)
            waiting.append(socket.create_connection(address, timeout=PATIENCE))
            stack.enter_context(waiting[-1])
            waiting[-1].sendall(request[: number % 20])
        assert server.ask("POST", "/classify", image, RAW)[0] == 200
        for number, each in enumerate(waiting):
            each.sendall(request[number % 20 :])
        answers = {each.recv(4096)[9:12] for each in waiting}
        assert b"200" in answers
        assert answers <= {b"200", b"429"}
    assert server.end() == 0

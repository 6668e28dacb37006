"""The HTTP service: its routes, its limits, and one sentence for everything that goes wrong."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hemline.data.custom.reading import counted
from hemline.errors import HemlineError, UnknownNameError
from hemline.pictures.pixels import NO_MEMORY, Pixels
from hemline.runtime.classification import documents_of
from hemline.runtime.classifier import Classifier
from hemline.runtime.decoder import Prediction
from hemline.runtime.input.streams import decoded
from hemline.runtime.service import open_inference
from hemline.runtime.service.answers import document, failed, predicted
from hemline.runtime.service.description import described_service
from hemline.runtime.service.models import Model, Served
from hemline.runtime.service.page import static
from hemline.version import VERSION

_MOST_FILES = 256  # in a form
_RAW, _FORM = "application/octet-stream", "multipart/form-data"
_UNNAMED = ("", "application/x-www-form-urlencoded")  # what clients say of a file by default
_CLASSIFY = re.compile("/classify|/v2/models/([^/]+)/infer")
_CHUNK = 256  # raw images between two looks at the clock
_MOST_PIXELS = 25_000_000  # of an image file, before it is unpacked
Work = Callable[[Classifier, float], Response]


class Limits(NamedTuple):
    """Megabytes in a request, requests in progress, seconds for an upload and for its answer."""

    megabytes: int
    requests: int
    seconds: int


class Service:
    """The artifacts that are served, an ASGI application; /classify uses the first by default.

    Everything but the work itself, if it is long, happens in the event loop's thread.
    """

    def __init__(self, served: Sequence[Served], limits: Limits, workers: int) -> None:
        self._served, self._limits = {each.name: each for each in served}, limits
        self._workers, self._busy = ThreadPoolExecutor(workers), 0
        self._counts: defaultdict[str, float] = defaultdict(int)
        self._others = self._framework()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request; one to classify without the framework, which takes twice as long."""
        started, status, http = time.perf_counter(), 500, scope["type"] == "http"
        post = http and scope["method"] == "POST"
        found = _CLASSIFY.fullmatch(scope["path"]) if post else None
        if found is None:

            async def noted(message: Any) -> None:
                nonlocal status
                status = message.get("status", status)
                await send(message)

            await self._others(scope, receive, noted)
            if http:
                self._count(getattr(scope.get("route"), "path", "other"), status, started)
            return
        names = {"name": found[1]} if found[1] else {}
        request = Request({**scope, "path_params": names, "app": self._others}, receive)
        try:
            response = await self.predict(request)
        except Exception as error:  # noqa: BLE001 — one is answered, and logged
            response = await failed(request, error)
        route = "/v2/models/{name}/infer" if names else "/classify"
        self._count(route, response.status_code, started)
        await response(scope, receive, send)

    def _framework(self) -> Any:
        # without the pages of documentation: they load scripts from other hosts
        app = FastAPI(title="Hemline", version=VERSION, openapi_url=None)
        app.add_api_route("/openapi.json", self.description)
        app.add_api_route("/classify", self.predict, methods=["POST"])
        app.add_api_route("/v2/models/{name}/infer", self.predict, methods=["POST"])
        for path in ("/health", "/v2", "/v2/health/live", "/v2/health/ready"):
            app.add_api_route(path, self.health)
        for path in ("/v2/models/{name}", "/v2/models/{name}/ready"):
            app.add_api_route(path, self.model)
        app.add_api_route("/metrics", self.metrics)
        app.add_api_route("/", self.front)
        app.add_api_route("/page/{name}/{file:path}", self.page)
        app.add_exception_handler(HTTPException, failed)
        app.add_exception_handler(Exception, failed)
        return app

    async def health(self) -> Response:
        """Return what is served; `intact` is false where a replacement was refused."""
        models = {
            name: {
                "sha256": each.model.stamp.payload_sha256,
                "intact": each.intact,
                "artifact": each.model.path.name,
                "runtime": each.model.runtime,
            }
            for name, each in self._served.items()
        }
        server = {"name": "hemline", "version": VERSION, "extensions": ["binary_tensor_data"]}
        return document({**server, "models": models})

    async def description(self) -> Response:
        """Return a description of all addresses."""
        health = json.loads((await self.health()).body)
        first = next(iter(self._served.values()))
        model = open_inference.described_model(first.name, first.model.stamp)
        return document(described_service(health, model))

    async def model(self, request: Request) -> Response:
        """Return what a model requires and returns."""
        served = self._find(request.path_params["name"])
        return document(open_inference.described_model(served.name, served.model.stamp))

    async def metrics(self) -> Response:
        """Return counts and seconds in the text format of Prometheus."""
        counts = {**self._counts, "hemline_requests_in_progress": self._busy}
        text = "".join(f"{name} {count}\n" for name, count in sorted(counts.items()))
        return Response(text, media_type="text/plain")

    async def front(self) -> Response:
        """Lead to the page of the first artifact."""
        return RedirectResponse(f"page/{quote(next(iter(self._served)))}/")

    async def page(self, request: Request) -> Response:
        """Return a file of the page that classifies in the browser."""
        name, model = request.path_params["file"], self._find(request.path_params["name"]).model
        name = name or "index.html"
        files = await asyncio.to_thread(lambda: model.page)  # which may wait for npm
        if name not in files:
            raise HTTPException(404)
        return static(name, files[name], request.headers.get("if-none-match"))

    async def predict(self, request: Request) -> Response:
        """Classify an image file, raw pixels, the files of a form, or a tensor (v2)."""
        self._busy += 1
        try:
            if self._busy > self._limits.requests:
                most = counted(self._limits.requests, "request")
                text = f"the limit is {most} in progress: try again later"
                raise HTTPException(429, text, {"Retry-After": "1"})
            given = _query(request).get("model", next(iter(self._served)))
            model = self._find(request.path_params.get("name", given)).model
            answer = self._infer if request.path_params else self._classify
            return await answer(request, model, await self._body(request))
        finally:
            self._busy -= 1

    def _count(self, route: str, status: int, started: float) -> None:
        labels = f'{{route="{route}",status="{status}"}}'
        self._counts[f"hemline_requests_total{labels}"] += 1
        self._counts[f"hemline_request_seconds_sum{labels}"] += time.perf_counter() - started

    def _find(self, name: str) -> Served:
        if name not in self._served:
            raise HTTPException(404, str(UnknownNameError("model", name, self._served)))
        return self._served[name]

    async def _body(self, request: Request) -> bytes:
        size, (most, _, seconds) = request.headers.get("content-length"), self._limits
        if "content-encoding" in request.headers:
            raise HTTPException(415, "Content-Encoding is not supported: send it uncompressed")
        if size is None:
            raise HTTPException(411, "the header Content-Length is missing")
        if int(size) > most * 1_000_000:
            raise HTTPException(413, f"a request can have at most {most} MB")
        task = cast("asyncio.Task[None]", asyncio.current_task())
        late = asyncio.get_running_loop().call_later(seconds, task.cancel)
        try:
            return bytes(await request.body())
        except ClientDisconnect as error:
            raise HTTPException(400, "the upload was cut off") from error
        except asyncio.CancelledError as error:
            text = f"the upload took longer than {seconds} seconds"
            raise HTTPException(408, text, {"Connection": "close"}) from error
        finally:
            late.cancel()

    async def _classify(self, request: Request, model: Model, body: bytes) -> Response:
        top = _query(request).get("top", "3")
        if re.fullmatch("[1-9][0-9]{0,4}", top) is None:
            raise HTTPException(422, "top must be a whole number from 1 to 99999")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        files = [("", body)]
        if kind == _RAW:
            images = _raw_images(body, model.stamp.input.shape)
            few = len(images) <= model.inline_images

            def work(classifier: Classifier, deadline: float) -> Response:
                found = _classified(model, images, classifier, deadline)
                return predicted(found, classifier.labels, int(top))

            return await self._work(model, work, here=few)
        if kind == _FORM:
            files = await _form_files(request)
        elif kind not in _UNNAMED and not kind.startswith("image/"):
            text = f"send an image file (image/png, …), raw pixels ({_RAW}) or files ({_FORM})"
            raise HTTPException(415, f"{text}, not {kind[:80]}")
        return await self._work(model, lambda *by: _from_files(model, files, int(top), *by))

    async def _infer(self, request: Request, model: Model, body: bytes) -> Response:
        name, head = request.path_params["name"], request.headers.get(open_inference.HEADER_SIZE)

        def work(classifier: Classifier, deadline: float) -> Response:
            asked, images = open_inference.read_request(body, head, model.stamp)
            found = _classified(model, images, classifier, deadline)
            return open_inference.response(name, asked, found, lambda: classifier.embed(images))

        few = len(body) <= model.inline_images * prod(model.stamp.input.shape)
        return await self._work(model, work, here=few)

    async def _work(self, model: Model, work: Work, *, here: bool = False) -> Response:
        """Do a piece of work, given a classifier and its deadline, in a worker's thread or here."""
        deadline = time.monotonic() + self._limits.seconds
        if here:
            return model.borrow(lambda classifier: work(classifier, deadline))
        return await asyncio.get_running_loop().run_in_executor(
            self._workers, model.borrow, lambda classifier: work(classifier, deadline)
        )


def _query(request: Request) -> dict[str, str]:
    """Return the parameters of a request; raises HTTPException for one that would be ignored."""
    if not request.scope["query_string"]:
        return {}
    given, path = request.query_params.multi_items(), request.url.path
    known = Counter(() if request.path_params else ("model", "top"))
    if wrong := next(iter(Counter(name for name, _ in given) - known), None):
        takes = "model and top, each once" if known else "no parameters"
        raise HTTPException(422, f"{path} takes {takes}, not {wrong[:80]!r}")
    return dict(given)


async def _form_files(request: Request) -> list[tuple[str, bytes]]:
    """Return the files (name, content) of a form; raises HTTPException."""
    try:
        async with request.form(max_files=_MOST_FILES) as form:
            sent = form.multi_items()
            uploads = [each for _, each in sent if not isinstance(each, str)]
            files = [((each.filename or "-")[:255], await each.read()) for each in uploads]
    except HTTPException as error:
        many = f"a form can have at most {_MOST_FILES} files"
        text = many if "files" in error.detail else "this is not a whole form with its boundary"
        raise HTTPException(400, text) from error
    if texts := [name for name, each in sent if isinstance(each, str)]:
        text = f"the form's field {texts[0][:80]!r} is text: a form has image files only"
        raise HTTPException(422, f"{text}, parameters are in the address (?model=NAME)")
    if not files:
        raise HTTPException(422, "the form has no files: send each image as a file")
    return files


def _raw_images(body: bytes, shape: tuple[int, ...]) -> Pixels:
    """Return the uint8 images (n, height, width, channels) in a body."""
    if body and len(body) % prod(shape) == 0:
        return np.frombuffer(body, np.uint8).reshape(-1, *shape)
    size = f"{prod(shape)} bytes an image ({' × '.join(map(str, shape))})"
    text = f"raw pixels of this model have {size}, not {len(body)}"
    raise HTTPException(422, f"{text}: send image files as image/png or another image type")


def _classified(
    model: Model, images: Pixels, classifier: Classifier, deadline: float
) -> list[Prediction]:
    """Classify images (n, …) until the deadline."""
    found: list[Prediction] = []
    if len(images) == 1:
        found.append(classifier.classify(images[0]))
    else:
        for at in range(0, len(images), _CHUNK):
            _require_time(deadline)
            found += classifier.classify_batch(images[at : at + _CHUNK])
    if model.monitor is not None:
        model.monitor.add(found, images)
    return found


def _from_files(
    model: Model,
    files: list[tuple[str, bytes]],
    top: int,
    classifier: Classifier,
    deadline: float,
) -> Response:
    """Classify image files (name, content); one that cannot be read stops no other."""
    side, found = max(classifier.stamp.input.shape[:2]), []
    for name, content in files:
        _require_time(deadline)
        fields: dict[str, Any] = {"image": name} if name else {}
        try:
            picture = decoded(content, "the image", side, _MOST_PIXELS)
            seen = classifier.prepare(picture)
            fields |= documents_of(_classified(model, seen[None], classifier, deadline), top)[0]
        except (HemlineError, MemoryError) as error:
            lacks_memory = isinstance(error, MemoryError)
            fields["error"] = f"the image {NO_MEMORY}" if lacks_memory else str(error)
        found.append(fields)
    status = 422 if any("error" in each for each in found) else 200
    return document({"predictions": found} if files[0][0] else found[0], status)


def _require_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise HTTPException(503, "the server is busy: try again later", {"Retry-After": "1"})

"""The page that classifies in the browser, as the service gives it."""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import threading
from pathlib import Path

from fastapi import Response
from starlette.exceptions import HTTPException

from hemline.contract.stamp import read_stamped
from hemline.errors import HemlineError
from hemline.files import read_bytes
from hemline.folders import TemporaryFolder
from hemline.runtime.page.writing import ClassifyingPage, write_page


class Page:
    """The files of the page of an artifact, written when the first of them is asked for."""

    def __init__(self, artifact: Path, title: str, sha256: str) -> None:
        self._artifact, self._title, self._sha256 = artifact, title, sha256
        self._files, self._lock = dict[str, bytes](), threading.Lock()

    def response(self, name: str, known: str | None) -> Response:
        """Return a file; a browser that has it already says which version is `known` to it."""
        with self._lock:
            if not self._files:
                self._files = self._written()
        name = name or "index.html"
        if name not in self._files:
            raise HTTPException(404)
        content = self._files[name]
        version = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": version, "Cache-Control": "no-cache"}
        if known == version:
            return Response(status_code=304, headers=headers)
        kind = mimetypes.guess_type(name)[0] if not name.endswith(".gz") else None
        return Response(content, 200, headers, kind or "application/octet-stream")

    def _written(self) -> dict[str, bytes]:
        try:
            artifact = read_stamped(self._artifact)
            if artifact.stamp.payload_sha256 != self._sha256:
                raise HTTPException(503, "the file was replaced: try again", {"Retry-After": "1"})
            page = ClassifyingPage(
                title=self._title,
                artifact=read_bytes(self._artifact),
                stamp=artifact.stamp,
                offline=False,
            )
            with TemporaryFolder() as folder:
                write_page(Path(folder), page)
                return {each.name: read_bytes(each) for each in Path(folder).iterdir()}
        except HemlineError as error:
            logging.getLogger(__name__).warning("no page: %s", error)
            raise HTTPException(503, "the page cannot be made: the log says why") from error

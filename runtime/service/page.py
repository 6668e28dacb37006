"""The page that classifies in the browser, as the service gives it."""

from __future__ import annotations

import hashlib
import logging
import mimetypes
from pathlib import Path

from fastapi import Response
from starlette.exceptions import HTTPException

from hemline.contract.stamp import Stamp
from hemline.errors import HemlineError
from hemline.files import read_bytes
from hemline.folders import TemporaryFolder
from hemline.runtime.page.writing import ClassifyingPage, write_page
from hemline.runtime.similar.page_images import SimilarImages


def page_files(
    content: bytes, stamp: Stamp, title: str, similar: SimilarImages | None = None
) -> dict[str, bytes]:
    """Return the files of the page of an artifact, with `similar` images if it made their index.

    Raises HTTPException.
    """
    try:
        shown = similar if similar and similar.made_by(stamp) else None
        page = ClassifyingPage(
            title=title, artifact=content, stamp=stamp, similar=shown, offline=False
        )
        with TemporaryFolder() as folder:
            write_page(Path(folder), page)
            return {each.name: read_bytes(each) for each in Path(folder).iterdir()}
    except HemlineError as error:
        logging.getLogger(__name__).warning("no page: %s", error)
        raise HTTPException(503, "the page cannot be made: the log says why") from error


def static(name: str, content: bytes, known: str | None) -> Response:
    """Return a file, unless the browser has it: it says which version is `known` to it."""
    version = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": version, "Cache-Control": "no-cache"}
    if known == version:
        return Response(status_code=304, headers=headers)
    kind = None if name.endswith(".gz") else mimetypes.guess_type(name)[0]
    return Response(content, 200, headers, kind or "application/octet-stream")

"""Write the page that classifies pictures in a browser: for any static host, or as one file.

The worker is one script made of the modules in runtime/web. WebAssembly is compressed in the page,
because few hosts compress it. A policy in the page lets nothing be fetched from elsewhere.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from string import Template

from hemline.contract.stamp import Stamp
from hemline.files import read_bytes, write_bytes
from hemline.npm_packages import fetched
from hemline.pages import escaped, json_script, script_hash
from hemline.pictures.pixels import Pixels
from hemline.runtime.similar.page_images import SimilarImages

INDEX = "index.html"
_HERE = Path(__file__).parent
WEB = Path(str(resources("hemline.runtime"))) / "web"
MODULES = ("pixels.js", "engine.js", "decoder.js", "similar.js")  # what the worker imports
_IMPORT = re.compile(r"^import \{.*\} from '\./.*';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function (\w+))", re.MULTILINE)
# package and files of a format: of two builds the one that every browser with SIMD runs
PACKAGES = {
    "tflite": ("@litertjs/core", "litert_wasm_compat_internal*"),
    "onnx": ("onnxruntime-web", "ort*"),
}
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'wasm-unsafe-eval'",
    "worker-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self' blob:",
    "img-src": "'self' blob: data:",
    "manifest-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
}
_HEAD = """<link rel="stylesheet" href="page.css">
<link rel="icon" href="icon.svg">
<link rel="manifest" href="page.webmanifest">"""
_SCRIPT = '<script src="page.js"></script>'


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyingPage:
    """What a page is made of.

    title: what its visitors read at the top.
    artifact, stamp: bytes of the file, and what it says of itself.
    examples: (name, uint8 pixels of the model's size), shown to be tried.
    similar: images among which it shows those that are similar to a picture.
    offline: whether browsers keep the page, to open it without a network.
    """

    title: str
    artifact: bytes
    stamp: Stamp
    examples: tuple[tuple[str, Pixels], ...] = ()
    similar: SimilarImages | None = None
    offline: bool = True


def write_page(folder: Path, page: ClassifyingPage, *, single_file: bool = False) -> None:
    """Write the files of a page, or index.html alone with all of them in it.

    Raises DataError when the package of a runtime cannot be fetched.
    """
    packages = _package_files(page.stamp.format)
    contents = {page.stamp.name: page.artifact, "worker.js": _worker().encode(), **packages}
    contents |= page.similar.files if page.similar else {}
    facts = json_script(
        "page",
        {
            "artifact": page.stamp.name,
            "packages": list(packages),
            "examples": [
                {"name": name, "pixels": _text(zlib.compress(image.tobytes(), 9))}
                for name, image in page.examples
            ],
            "similar": page.similar.facts if page.similar else None,
            "offline": page.offline and not single_file,
        },
    )
    if single_file:
        write_bytes(folder / INDEX, _single(page, contents, facts))
        return
    contents |= {name: (_HERE / name).read_bytes() for name in ("page.css", "page.js", "icon.svg")}
    contents[INDEX] = _index(page, _POLICY, _HEAD, facts, _SCRIPT)
    contents["page.webmanifest"] = _installation(page)
    if page.offline:
        contents["service_worker.js"] = _service_worker(contents)
    for name, content in contents.items():
        write_bytes(folder / name, content)


def _single(page: ClassifyingPage, contents: Mapping[str, bytes], facts: str) -> bytes:
    style, script = ((_HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    icon = f"data:image/svg+xml;base64,{_text((_HERE / 'icon.svg').read_bytes())}"
    inside = json_script("contents", {name: _text(each) for name, each in contents.items()})
    own = {
        "script-src": f"{script_hash(script)} blob: 'wasm-unsafe-eval'",
        "worker-src": "blob:",
        "style-src": script_hash(style),
        "connect-src": "blob:",
    }
    head = f'<style>{style}</style>\n<link rel="icon" href="{icon}">'
    script = f"<script>{script}</script>"
    return _index(page, _POLICY | own, head, facts + inside, script)


def _index(
    page: ClassifyingPage, policy: Mapping[str, str], head: str, data: str, script: str
) -> bytes:
    template = Template((_HERE / "page.html").read_text(encoding="utf-8"))
    rules = "; ".join(map(" ".join, policy.items()))
    title, count = escaped(page.title), len(page.stamp.labels)
    return template.substitute(
        policy=rules, title=title, count=count, head=head, data=data, script=script
    ).encode()


def _installation(page: ClassifyingPage) -> bytes:
    """Return what a telephone needs to put the page among its apps."""
    icon = {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}
    name = {"name": page.title, "short_name": page.title}
    return json.dumps({**name, "start_url": ".", "display": "standalone", "icons": [icon]}).encode()


def _service_worker(contents: Mapping[str, bytes]) -> bytes:
    """Return the script that keeps the files; other contents are another version."""
    digest = hashlib.sha256(b"".join(contents[name] for name in sorted(contents))).hexdigest()
    script = (_HERE / "service_worker.js").read_text(encoding="utf-8")
    names = json.dumps(["./", *sorted(contents)])
    return script.replace("@VERSION@", digest[:16]).replace("@FILES@", names).encode()


def _worker() -> str:
    """Return the script of the worker with the modules that it imports, which is not a module.

    Chromium starts no module from a page on the disk.
    """
    modules = [_enclosed((WEB / name).read_text(encoding="utf-8")) for name in MODULES]
    own = (_HERE / "worker.js").read_text(encoding="utf-8")
    return "".join((*modules, _IMPORT.sub("", own)))


def _enclosed(module: str) -> str:
    """Return a module as a statement that declares what it exports."""
    names = f"{{ {', '.join(_EXPORT.findall(module))} }}"
    body = _EXPORT.sub("", _IMPORT.sub("", module))
    body = body.replace("import.meta.url", "self.location.href")
    return f"const {names} = (() => {{\n{body}return {names};\n}})();\n"


def _package_files(kind: str) -> dict[str, bytes]:
    """Return the code and the compressed WebAssembly of the runtime for a format."""
    package, pattern = PACKAGES[kind]
    found = {}
    for path in sorted(fetched(package).glob(pattern)):
        if path.suffix == ".wasm":
            found[f"{path.name}.gz"] = gzip.compress(read_bytes(path), 9, mtime=0)
        else:  # some hosts do not know that .mjs is JavaScript
            found[f"{path.stem}.js"] = read_bytes(path)
    return found


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()

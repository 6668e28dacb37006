"""Write the page that classifies pictures in a browser: for any static host, or as one file.

The worker is one script made of the modules in runtime/web. WebAssembly is compressed in the page,
because few hosts compress it. A policy in the page lets nothing be fetched from elsewhere.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from string import Template

from hemline.contract.stamp import Stamp
from hemline.files import read_bytes, write_bytes, write_json
from hemline.npm_packages import fetched
from hemline.pages import escaped, json_script, script_hash
from hemline.pictures.pixels import Pixels

INDEX, SERVICE_WORKER = "index.html", "service_worker.js"
_HERE = Path(__file__).parent
_MODULES = ("pixels.js", "engine.js", "decoder.js")  # what the worker imports, in this order
_IMPORT = re.compile(r"^import \{.*\} from '\./.*';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function (\w+))", re.MULTILINE)
# of each package only what every browser with WebAssembly SIMD runs
PACKAGES = {
    "tflite": ("@litertjs/core", "litert_wasm_compat_internal"),
    "onnx": ("onnxruntime-web", "ort"),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyingPage:
    """What a page is made of.

    title: what its visitors read at the top.
    artifact: bytes of the file.
    stamp: that of the file.
    examples: (name, uint8 pixels of the model's size), shown to be tried.
    offline: whether browsers keep the page, to open it without a network.
    """

    title: str
    artifact: bytes
    stamp: Stamp
    examples: tuple[tuple[str, Pixels], ...] = ()
    offline: bool = True


def write_page(folder: Path, page: ClassifyingPage, *, single_file: bool = False) -> None:
    """Write the files of a page, or index.html alone with all of them in it.

    Raises DataError when the package of a runtime cannot be fetched.
    """
    fixed = {name: (_HERE / name).read_bytes() for name in ("page.css", "page.js", "icon.svg")}
    packages = _package_files(page.stamp.format)
    contents = {page.stamp.name: page.artifact, "worker.js": _worker().encode(), **packages}
    facts = {
        "artifact": page.stamp.name,
        "packages": list(packages),
        "examples": [{"name": name, "pixels": _packed(image)} for name, image in page.examples],
        "offline": page.offline and not single_file,
    }
    if single_file:
        write_bytes(folder / INDEX, _single(page, fixed, contents, facts))
        return
    install = {
        "name": page.title,
        "short_name": page.title,
        "start_url": ".",
        "display": "standalone",
    }
    icons = [{"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}]
    write_json(folder / "page.webmanifest", {**install, "icons": icons})
    head = (
        '<link rel="stylesheet" href="page.css">\n<link rel="icon" href="icon.svg">\n'
        '<link rel="manifest" href="page.webmanifest">'
    )
    script = '<script type="module" src="page.js"></script>'
    index = _index(page, _POLICY, head, json_script("page", facts), script)
    for name, content in {INDEX: index, **fixed, **contents}.items():
        write_bytes(folder / name, content)
    if page.offline:
        _write_service_worker(folder)


def _single(
    page: ClassifyingPage,
    fixed: Mapping[str, bytes],
    contents: Mapping[str, bytes],
    facts: Mapping[str, object],
) -> bytes:
    style, script = (fixed[name].decode() for name in ("page.css", "page.js"))
    icon = base64.b64encode(fixed["icon.svg"]).decode()
    head = f'<style>{style}</style>\n<link rel="icon" href="data:image/svg+xml;base64,{icon}">'
    inside = {name: base64.b64encode(content).decode() for name, content in contents.items()}
    data = json_script("page", facts) + json_script("contents", inside)
    own = {
        "script-src": f"{script_hash(script)} blob: 'wasm-unsafe-eval'",
        "worker-src": "blob:",
        "style-src": script_hash(style),
        "connect-src": "blob:",
    }
    return _index(page, _POLICY | own, head, data, f'<script type="module">{script}</script>')


def _index(
    page: ClassifyingPage, policy: Mapping[str, str], head: str, data: str, script: str
) -> bytes:
    text = Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
        policy="; ".join(map(" ".join, policy.items())),
        title=escaped(page.title),
        count=len(page.stamp.labels),
        head=head,
        data=data,
        script=script,
    )
    return text.encode()


def _worker() -> str:
    """Return the script of the worker with the modules that it imports, which is not a module.

    Chromium starts no module from a page on the disk.
    """
    web = Path(str(resources("hemline.runtime"))) / "web"
    modules = [_enclosed((web / name).read_text(encoding="utf-8")) for name in _MODULES]
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
    package, start = PACKAGES[kind]
    found = {}
    for path in sorted(fetched(package).glob(f"{start}*")):
        if path.suffix == ".wasm":
            found[f"{path.name}.gz"] = gzip.compress(read_bytes(path), 9, mtime=0)
        else:  # some hosts do not know that .mjs is JavaScript
            found[f"{path.stem}.js"] = read_bytes(path)
    return found


def _packed(image: Pixels) -> str:
    return base64.b64encode(zlib.compress(image.tobytes(), 9)).decode()


def _write_service_worker(folder: Path) -> None:
    """Write the script that keeps the files of a folder; another content is another version."""
    names = sorted(path.name for path in folder.iterdir())
    digest = hashlib.sha256(b"".join(read_bytes(folder / name) for name in names)).hexdigest()
    template = (_HERE / SERVICE_WORKER).read_text(encoding="utf-8")
    script = template.replace("@VERSION@", digest[:16]).replace("@FILES@", _listed(["./", *names]))
    write_bytes(folder / SERVICE_WORKER, script.encode())


def _listed(names: Iterable[str]) -> str:
    return f"[{', '.join(map(repr, names))}]"

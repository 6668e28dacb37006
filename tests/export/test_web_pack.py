"""What a web pack is made of, without a browser; tests/devices/test_web_page.py opens it."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from hemline import npm_packages
from hemline.contract import schema
from hemline.contract.manifest import MANIFEST_NAME, read_manifest
from hemline.contract.stamp import read_stamped
from hemline.errors import GateError, UsageError
from hemline.export.pack.packed import Packed, PackOptions
from hemline.export.pack.packing import choose, write_pack
from hemline.export.pack.table import TARGETS
from hemline.export.pack.web.filling import page_runtime
from hemline.runtime.page import writing
from hemline.runtime.service.page import page_files
from hemline.runtime.similar.building import build
from hemline.runtime.similar.embedding import Embedded
from hemline.runtime.similar.page_images import page_images
from hemline.train.nets.hem import HEM_50K

WEB = TARGETS["web"]


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file stand for the WebAssembly, which is downloaded."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "litert_wasm_compat_internal.wasm").write_bytes(b"wasm")
    (folder / "litert_wasm_compat_internal.mjs").write_bytes(b"export default 1;")
    monkeypatch.setattr(writing, "fetched", lambda _: folder)


def packed(bundle: Path, **options: object) -> Packed:
    return choose(bundle, WEB, PackOptions(artifact="int8.tflite", **options))  # type: ignore[arg-type]


def facts_of(index: Path) -> dict[str, object]:
    found = re.search(
        r'<script type="application/json" id="page">(.*?)</script>', index.read_text()
    )
    assert found is not None
    facts: dict[str, object] = json.loads(found[1])
    return facts


def test_a_page_has_an_example_of_each_class_of_a_published_data_set(
    bundle: Path, tmp_path: Path
) -> None:
    write_pack(packed(bundle), tmp_path / "pack")
    examples = facts_of(tmp_path / "pack" / "index.html")["examples"]
    assert isinstance(examples, list)
    assert [each["name"] for each in examples] == list(read_manifest(bundle).labels)
    pixels = zlib.decompress(base64.b64decode(examples[3]["pixels"]))
    images = np.load(bundle / "evaluation" / "validation-images.npy")
    labels = np.load(bundle / "evaluation" / "validation-labels.npy")
    assert pixels == images[labels == 3][0].tobytes()


def test_custom_images_are_never_put_into_a_page(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    schema.save(copy / MANIFEST_NAME, dataclasses.replace(read_manifest(copy), dataset="images"))
    write_pack(packed(copy), tmp_path / "pack")
    assert facts_of(tmp_path / "pack" / "index.html")["examples"] == []


def test_a_service_worker_keeps_all_files_of_the_page_and_no_others(
    bundle: Path, tmp_path: Path
) -> None:
    write_pack(packed(bundle), tmp_path / "pack")
    found = re.search(
        r"requests = (\[.*\])\.map", (tmp_path / "pack" / "service_worker.js").read_text()
    )
    assert found is not None
    kept = set(json.loads(found[1]))
    there = {path.name for path in (tmp_path / "pack").iterdir()}
    assert "page.webmanifest" in kept
    assert kept - {"./"} == there - {
        *("service_worker.js", "README.md", "MODEL_CARD.md", "SHA256SUMS", "labels.txt"),
        *("sbom.cdx.json", "licences"),
    }


def test_a_single_file_has_a_policy_for_its_own_script_only(bundle: Path, tmp_path: Path) -> None:
    alone = packed(bundle, single_file=True)
    assert alone.name == f"{packed(bundle).name}-file", "neither takes the other's folder"
    write_pack(alone, tmp_path / "pack")
    text = (tmp_path / "pack" / "index.html").read_text()
    policy = re.search(r'content="(default-src[^"]*)"', text)
    assert policy is not None
    assert "'unsafe-inline'" not in policy[1]
    assert "'self'" not in policy[1].split("script-src")[1].split(";")[0]
    assert "'sha256-" in policy[1]
    assert not (tmp_path / "pack" / "page.js").exists()


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")
def test_the_scripts_of_a_page_have_no_syntax_errors(bundle: Path, tmp_path: Path) -> None:
    write_pack(packed(bundle), tmp_path / "pack")
    for name in ("worker.js", "page.js", "service_worker.js"):
        subprocess.run(["node", "--check", tmp_path / "pack" / name], check=True)
    assert "import.meta" not in (tmp_path / "pack" / "worker.js").read_text()


def test_a_file_that_no_page_can_run_is_refused(bundle: Path) -> None:
    found = packed(bundle)
    large = dataclasses.replace(found.artifact, size_bytes=100_000_001)
    spec = dataclasses.replace(found.stamp.input, dtype="int16")
    old = tuple(v for v in found.artifact.verdicts if v.runtime == "tflite-runtime")
    other = dataclasses.replace(found.artifact, verdicts=old)
    for changed, reason in (
        ({"artifact": large}, "has 100,000,001 bytes: a page can have 100,000,000"),
        (
            {"stamp": dataclasses.replace(found.stamp, input=spec)},
            "int8.tflite takes int16 pixels, which pages cannot run",
        ),
        ({"artifact": other}, "int8.tflite did not pass in litert, which runs it in a page"),
    ):
        with pytest.raises(GateError, match=reason):
            page_runtime(dataclasses.replace(found, **changed))  # type: ignore[arg-type]


def test_the_bill_of_materials_names_the_npm_package(bundle: Path, tmp_path: Path) -> None:
    write_pack(packed(bundle), tmp_path / "pack")
    listed = json.loads((tmp_path / "pack" / "sbom.cdx.json").read_text())["components"]
    (found,) = [each for each in listed if each["name"] == "@litertjs/core"]
    version = npm_packages.locked()["@litertjs/core"][0]
    assert found["purl"] == f"pkg:npm/%40litertjs/core@{version}"
    licence = tmp_path / "pack" / "licences" / "@litertjs" / "core" / "LICENSE"
    assert b"Apache License" in licence.read_bytes()


@pytest.fixture
def proven(bundle: Path, embedding_bundle: Path, tmp_path: Path) -> Path:
    """Return a bundle with embeddings, and with the verdicts on the same files without."""
    copy = Path(shutil.copytree(embedding_bundle, tmp_path / "proven"))
    verdicts = {each.name: each.verdicts for each in read_manifest(bundle).artifacts}
    manifest = read_manifest(copy)
    artifacts = [dataclasses.replace(x, verdicts=verdicts[x.name]) for x in manifest.artifacts]
    schema.save(copy / MANIFEST_NAME, dataclasses.replace(manifest, artifacts=tuple(artifacts)))
    return copy


@pytest.mark.medium
def test_a_page_has_similar_images_where_an_index_is_named(proven: Path, tmp_path: Path) -> None:
    vectors = (
        np.random.default_rng(0).normal(size=(40, HEM_50K.stages[-1].channels)).astype(np.float32)
    )
    names, pixels = [f"{at}.png" for at in range(40)], np.zeros((40, 28, 28, 1), np.uint8)
    index = tmp_path / "images.index"
    artifact = proven / "int8.tflite"
    build([Embedded(names, ["Bag"] * 40, vectors, pixels)], artifact, index, "images")
    write_pack(packed(proven, similar=index), tmp_path / "with")
    facts = facts_of(tmp_path / "with" / "index.html")["similar"]
    assert isinstance(facts, dict)
    assert facts["names"] == names
    kept = (tmp_path / "with" / "service_worker.js").read_text()
    for name in ("similar.bin", "similar.webp"):
        assert (tmp_path / "with" / name).read_bytes() == (index / name).read_bytes()
        assert f'"{name}"' in kept, "also without a network"
    write_pack(packed(proven), tmp_path / "without")
    assert facts_of(tmp_path / "without" / "index.html")["similar"] is None
    assert not list((tmp_path / "without").glob("similar*"))
    other = choose(proven, WEB, PackOptions(artifact="int8.onnx", similar=index))
    with pytest.raises(UsageError, match="made with another file"):
        write_pack(other, tmp_path / "other")
    content, stamp = artifact.read_bytes(), read_stamped(artifact).stamp
    shown = page_images(index, [stamp])
    assert "similar.bin" in page_files(content, stamp, "served", shown)
    new = dataclasses.replace(stamp, payload_sha256="0" * 64)  # the file was replaced
    assert "similar.bin" not in page_files(content, new, "served", shown)

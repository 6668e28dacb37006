"""Packs for other languages: their self-tests, built by the real compilers."""

from __future__ import annotations

import contextlib
import functools
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import opened_browser
from language_packs import odd, packed_for, write_odd
from PIL import Image
from required import missing

from hemline.errors import HemlineError
from hemline.export.pack.packing import write_pack
from hemline.runtime import Classifier

pytestmark = pytest.mark.devices
LABELS_OF_THE_MODEL = (
    r"labels of the model: (?P<equal>\d+) of (?P=equal) decided equal, "
    r"(?P<near>\d+) too near to tell"
)
HEADERS = "/usr/include/onnxruntime"  # of Debian's libonnxruntime-dev
# What stands for LiteRT, which has no build for a JVM: it returns the outputs of vectors.json.
LITERT = """package org.tensorflow.lite
import java.io.File
import java.nio.ByteBuffer
class Interpreter(file: File, options: Options) {
    class Options { fun setNumThreads(count: Int): Options = this }
    private val text = File("vectors.json").readText()
    private fun all(name: String) = Regex("\\"$name\\": \\\\[([^\\\\]]+)]").findAll(text)
        .map { it.groupValues[1].split(",").map { each -> each.trim().toInt().toByte() } }.toList()
    init { require(file.isFile) }
    fun runForMultipleInputsOutputs(inputs: Array<Any>, outputs: Map<Int, Any>) {
        val input = inputs[0] as ByteBuffer
        val tensor = List(input.remaining()) { input.get(it) }
        val output = outputs.getValue(0) as ByteBuffer
        for (each in all("output")[all("tensor").indexOf(tensor)]) output.put(each)
    }
    fun close() {}
}
"""
RUN_KOTLIN = """package hemline
import java.io.File
fun main() = Classifier(File("int8.tflite")).use {
    check(selfTest(File("vectors.json").readText(), ::println, it::classify))
}
"""
# What stands for TensorFlow Lite: the interface that its header declares, which returns zeros.
TFLITE_C = """#include <stddef.h>
#include <string.h>
typedef enum { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;
typedef struct TfLiteModel TfLiteModel;
typedef struct TfLiteInterpreter TfLiteInterpreter;
typedef struct TfLiteInterpreterOptions TfLiteInterpreterOptions;
typedef struct TfLiteTensor TfLiteTensor;
static inline TfLiteModel *TfLiteModelCreateFromFile(const char *path) {
  return path[0] ? (TfLiteModel *)1 : NULL;
}
static inline void TfLiteModelDelete(TfLiteModel *model) {}
static inline TfLiteInterpreter *TfLiteInterpreterCreate(
    const TfLiteModel *model, const TfLiteInterpreterOptions *options) {
  return (TfLiteInterpreter *)1;
}
static inline void TfLiteInterpreterDelete(TfLiteInterpreter *it) {}
static inline TfLiteStatus TfLiteInterpreterAllocateTensors(TfLiteInterpreter *it) {
  return kTfLiteOk;
}
static inline TfLiteTensor *TfLiteInterpreterGetInputTensor(
    const TfLiteInterpreter *it, int index) { return (TfLiteTensor *)784; }
static inline const TfLiteTensor *TfLiteInterpreterGetOutputTensor(
    const TfLiteInterpreter *it, int index) { return (const TfLiteTensor *)10; }
static inline TfLiteStatus TfLiteInterpreterInvoke(TfLiteInterpreter *it) { return kTfLiteOk; }
static inline TfLiteStatus TfLiteTensorCopyFromBuffer(
    TfLiteTensor *tensor, const void *data, size_t size) {
  return size == (size_t)tensor ? kTfLiteOk : kTfLiteError;
}
static inline TfLiteStatus TfLiteTensorCopyToBuffer(
    const TfLiteTensor *tensor, void *data, size_t size) {
  memset(data, 0, size);
  return size == (size_t)tensor ? kTfLiteOk : kTfLiteError;
}
"""
CLASSIFY = """async ([pixels, width, height]) => {
  const { classify } = await (await import('./classifier.js')).open();
  return classify(new ImageData(Uint8ClampedArray.from(pixels), width, height));
}"""
WRONG = """import { open } from './node.js';
const { classify, run } = await open();
const real = new Float32Array(784);
for (const each of ['shirt.png', null, { data: real, width: 28, height: 28 }]) {
  await classify(each).catch(({ message }) => console.log(message));
}
for (const each of [null, real]) try { run(each); } catch ({ message }) { console.log(message); }
"""
RUN_SWIFT = """import Foundation
let classifier = try Classifier(path: "int8.tflite")
let found = try classifier.classify([UInt8](repeating: 0, count: 784))
print(found.index, found.logits.count)
"""


def program(part: str, name: str, package: str) -> str:
    found = shutil.which(name)
    return found or missing(part, f"{name} is not here (apt-get install {package})")


def run(folder: Path, *command: str) -> str:
    """Run a command in the folder of a pack; fail with what it printed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address of a server of static files."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def built_cpp(folder: Path, *options: str) -> str:
    compiler = program("cpp", "g++", "g++")
    strict = ("-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Werror")
    run(folder, compiler, *strict, "selftest.cpp", "-o", "selftest", *options)
    return run(folder, "./selftest")


def built_kotlin(folder: Path, *others: str) -> str:
    compiler = program("kotlin", "kotlinc", "kotlin")
    sources = ["Model.kt", "SelfTest.kt", *others]
    run(folder, compiler, *sources, "-include-runtime", "-d", "selftest.jar")
    main = "RunKt" if others else "SelfTestKt"
    return run(folder, "java", "-cp", "selftest.jar", f"hemline.{main}")


def built_swift(folder: Path) -> str:
    compiler = program("swift", "swiftc", "swiftlang")
    run(folder, compiler, "Model.swift", "SelfTest.swift", "main.swift", "-o", "selftest")
    return run(folder, "./selftest")


BUILT = [
    pytest.param("cpp", built_cpp, marks=pytest.mark.smoke),
    ("kotlin", built_kotlin),
    ("swift", built_swift),
]


@pytest.mark.parametrize(("target", "built"), BUILT)
def test_tensors_and_labels_equal_the_vectors(
    bundle: Path, tmp_path: Path, target: str, built: Callable[[Path], str]
) -> None:
    write_pack(packed_for(bundle, target), tmp_path / "pack")
    printed = built(tmp_path / "pack")
    assert "tensors: 13 of 13 equal" in printed
    assert "labels of given outputs: 13 of 13 equal" in printed
    assert printed.endswith("passed\n")


@pytest.mark.parametrize(("target", "built"), BUILT)
def test_any_input_output_and_class_names_are_possible(
    bundle: Path, tmp_path: Path, target: str, built: Callable[[Path], str]
) -> None:
    write_odd(odd(packed_for(bundle, target)), tmp_path / "pack")
    printed = built(tmp_path / "pack")
    assert "tensors: 20 of 20 equal" in printed
    assert "labels of given outputs: 20 of 20 equal" in printed


@pytest.fixture
def js_pack(bundle: Path, tmp_path: Path, warm_cache: None, request: pytest.FixtureRequest) -> Path:
    """Return the pack of an artifact for JavaScript; WebAssembly comes from npm."""
    del warm_cache
    try:
        write_pack(packed_for(bundle, "js", request.param), tmp_path / "pack")
    except HemlineError as error:
        missing("node", str(error))
    return tmp_path / "pack"


@pytest.mark.parametrize(
    ("js_pack", "most"),
    # float sums have another order in WebAssembly: 1e-5 is some 20 ulps of a logit of 5
    [
        pytest.param("int8.tflite", 0.0, marks=pytest.mark.smoke),
        ("int8.onnx", 0.0),
        ("fp32.tflite", 1e-5),
        ("fp32.onnx", 1e-5),
    ],
    indirect=["js_pack"],
)
def test_javascript_gets_the_logits_of_python_in_node(js_pack: Path, most: float) -> None:
    printed = run(js_pack.parent, program("node", "node", "nodejs"), "pack/selftest.js")
    assert printed.endswith("passed\n")
    found = re.fullmatch(
        LABELS_OF_THE_MODEL + r"\nscores within (\S+) \(.*\), logits within (\S+) \(.*\)\npassed\n",
        printed,
    )
    assert found is not None
    assert int(found["equal"]) + int(found["near"]) == 13
    # Python's scores are float32, whose step near 1 is 6e-8
    assert float(found[3]) <= most + 1e-6
    assert float(found[4]) <= most


@pytest.mark.parametrize("js_pack", ["int8.tflite", "int8.onnx", "fp32.onnx"], indirect=True)
@pytest.mark.parametrize("changed", ["index", "logits", "score", "decided"])
def test_a_self_test_fails_where_the_vectors_expect_something_else(
    js_pack: Path, changed: str
) -> None:
    path = js_pack / "vectors.json"
    document = json.loads(path.read_text())
    for each in document["vectors"]:
        each |= {
            "index": {"index": (each["index"] + 1) % len(each["logits"])},
            "logits": {"logits": [logit + 0.2 for logit in each["logits"]]},
            "score": {"score": each["score"] - 0.15},
            "decided": {"decided": False},
        }[changed]
    path.write_text(json.dumps(document))
    with pytest.raises(AssertionError, match="FAILED"):
        run(js_pack.parent, program("node", "node", "nodejs"), "pack/selftest.js")


@pytest.mark.parametrize("js_pack", ["int8.tflite", "int8.onnx"], indirect=True)
def test_javascript_that_was_altered_fails_in_node(js_pack: Path) -> None:
    artifact = next(path for path in js_pack.iterdir() if path.suffix in (".tflite", ".onnx"))
    content = bytearray(artifact.read_bytes())
    content[1000] ^= 1
    artifact.write_bytes(content)
    node = program("node", "node", "nodejs")
    done = subprocess.run([node, "pack/selftest.js"], cwd=js_pack.parent, capture_output=True)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"FAILED: {artifact.name} was modified: copy it again (sha256sum -c")


@pytest.mark.parametrize("js_pack", ["int8.tflite"], indirect=True)
def test_javascript_of_which_a_file_is_missing_fails_with_one_line(js_pack: Path) -> None:
    node = program("node", "node", "nodejs")
    code = (js_pack / "README.md").read_text().split("```js\n")[1].split("```")[0]
    (js_pack / "readme.js").write_text(code)
    run(js_pack, node, "--check", "readme.js")
    for name in ("decoder.js", "vectors.json", "int8.tflite"):
        (js_pack / name).rename(js_pack / "away")
        done = subprocess.run([node, "selftest.js"], cwd=js_pack, capture_output=True, text=True)
        (js_pack / "away").rename(js_pack / name)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("FAILED: ")
        assert name in line


@pytest.mark.parametrize("js_pack", ["int8.tflite"], indirect=True)
def test_javascript_says_in_one_line_what_is_not_a_picture(js_pack: Path) -> None:
    (js_pack / "wrong.js").write_text(WRONG)
    printed = run(js_pack, program("node", "node", "nodejs"), "wrong.js").splitlines()
    assert printed[:3] == 3 * [
        "the pixels of a picture are bytes: a Uint8Array, or what getImageData returns"
    ]
    assert printed[3:] == 2 * ["an image has 784 bytes here"]


@pytest.mark.browser
@pytest.mark.parametrize("js_pack", ["int8.tflite", "int8.onnx"], indirect=True)
def test_javascript_classifies_a_picture_of_any_size_in_a_browser(js_pack: Path) -> None:
    """The label is Python's, of a picture that both make the model's pixels of."""
    picture = np.zeros((40, 30, 4), np.uint8)
    picture[..., 3] = 255
    picture[10:16, 4:26, :3] = 200
    artifact = next(path for path in js_pack.iterdir() if path.suffix in (".tflite", ".onnx"))
    with Classifier.load(artifact) as classifier:
        expected = classifier.classify(classifier.prepare(picture))
    path = js_pack / "picture.png"
    Image.fromarray(picture).save(path)
    (js_pack / "index.html").write_text("<!doctype html><title>pack</title>")
    try:
        with served(js_pack) as address, opened_browser() as browser:
            page = browser.new_page()
            page.goto(f"{address}/index.html")
            found = page.evaluate(CLASSIFY, [picture.ravel().tolist(), 30, 40])
            page.goto(f"{address}/example.html")
            page.set_input_files("input", [str(path)])
            page.wait_for_selector("output:has-text('%')")
            shown = page.inner_text("output")
    except HemlineError as error:
        missing("browser", str(error))
    label = expected.label if expected.known else "unknown"
    assert shown == f"{label} ({100 * expected.score:.1f} %)"
    assert found["index"] == expected.index
    assert found["isUnknown"] == (not expected.known)
    assert found["score"] == pytest.approx(expected.score, abs=1e-6)


def test_a_step_that_differs_fails(bundle: Path, tmp_path: Path) -> None:
    write_pack(packed_for(bundle, "cpp"), tmp_path / "pack")
    header = tmp_path / "pack" / "model.hpp"
    header.write_text(header.read_text().replace("mean[] = {0.0}", "mean[] = {1.0}"))
    program("cpp", "g++", "g++")
    run(tmp_path / "pack", "g++", "-std=c++17", "selftest.cpp", "-o", "selftest")
    done = subprocess.run(["./selftest"], cwd=tmp_path / "pack", capture_output=True, text=True)
    assert done.returncode == 1
    assert "tensors: 0 of 13 equal" in done.stdout
    assert done.stdout.endswith("FAILED\n")
    (tmp_path / "pack" / "vectors.json").unlink()
    done = subprocess.run(["./selftest"], cwd=tmp_path / "pack", capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith("vectors.json is missing here, or damaged\n")


@pytest.mark.parametrize("artifact", ["int8.onnx", "fp32.onnx"])
def test_cpp_gets_the_logits_of_python_from_onnx_runtime(
    bundle: Path, tmp_path: Path, artifact: str
) -> None:
    folder = tmp_path / "pack"
    write_pack(packed_for(bundle, "cpp", artifact), folder)
    include = ("-isystem", HEADERS)
    (tmp_path / "probe.cpp").write_text("#include <onnxruntime_cxx_api.h>\n")
    probe = [program("cpp", "g++", "g++"), "-fsyntax-only", *include, str(tmp_path / "probe.cpp")]
    if subprocess.run(probe, capture_output=True).returncode:
        missing("onnxruntime-dev", "there are no headers (Debian 13: libonnxruntime-dev)")
    # the library of the Python package is the same as that of others
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    library = next((Path(spec.origin).parent / "capi").glob("libonnxruntime.so.*"))
    (folder / "libonnxruntime.so.1").symlink_to(library)
    printed = built_cpp(
        folder, "-DRUN_MODEL", *include, str(folder / "libonnxruntime.so.1"), f"-Wl,-rpath,{folder}"
    )
    assert re.search(LABELS_OF_THE_MODEL, printed)
    assert re.search(r"scores within \S+ \(tolerance \S+\), logits within 0 \(", printed)
    assert printed.endswith("passed\n")


def test_kotlin_gives_an_interpreter_its_tensor_and_reads_its_output(
    bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pack"
    write_pack(packed_for(bundle, "kotlin"), folder)
    (folder / "LiteRt.kt").write_text(LITERT)
    (folder / "Run.kt").write_text(RUN_KOTLIN)
    printed = built_kotlin(folder, "Classifier.kt", "LiteRt.kt", "Run.kt")
    assert re.search(LABELS_OF_THE_MODEL, printed)
    assert re.search(r"scores within \S+ \(tolerance \S+\), logits within 0.0 \(", printed)


def test_swift_gives_an_interpreter_its_tensor_and_reads_its_output(
    bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pack"
    write_pack(packed_for(bundle, "swift"), folder)
    module = folder / "TensorFlowLiteC"
    module.mkdir()
    (module / "c_api.h").write_text(TFLITE_C)
    (module / "module.modulemap").write_text('module TensorFlowLiteC { header "c_api.h" }')
    (folder / "main.swift").write_text(RUN_SWIFT)
    compiler = program("swift", "swiftc", "swiftlang")
    sources = ("Model.swift", "Classifier.swift", "main.swift")
    run(folder, compiler, "-I", "TensorFlowLiteC", *sources, "-o", "run")
    assert run(folder, "./run").split() == ["0", "10"]

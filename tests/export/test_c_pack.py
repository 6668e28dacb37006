"""A pack in C: what is rewritten for the compiler keeps the bytes, and the C runs and is judged."""

from __future__ import annotations

import ctypes
import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import interpreter
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

from hemline.cli import cli
from hemline.contract.evaluation_set import load_split
from hemline.contract.specs import InputSpec
from hemline.contract.stamp import read_stamped, stamp_tflite
from hemline.errors import BackendError, GateError
from hemline.export.pack.c.comparison import real_logits
from hemline.export.pack.c.compiling import compile_model, require_room
from hemline.export.pack.c.filling import _FILES
from hemline.export.pack.c.generation import generate
from hemline.export.pack.c.graph import compilable, logits_of_one_image
from hemline.export.pack.c.templates import c_string, classifier_facts, method_of
from hemline.export.pack.packed import Packed, PackOptions, write_filled
from hemline.export.pack.packing import choose, write_pack
from hemline.export.pack.table import TARGETS
from hemline.model_files.flatbuffer import packed as flatbuffer
from hemline.model_files.flatbuffer import unpacked
from hemline.model_files.tflite import read_tflite
from hemline.programs import ProgramError
from hemline.remedies import described
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS
from hemline.runtime.pixels import PixelEncoder
from hemline.train.nets.hem import HEM_50K

pytest.importorskip("bakenn")
C = TARGETS["c"]
SIZE = HEM_50K.stages[-1].channels  # of the embedding
Bytes = npt.NDArray[np.int8]

needs_tools = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="make and a C compiler are missing"
)


@pytest.fixture(scope="module")
def packed(bundle: Path) -> Packed:
    return choose(bundle, C, PackOptions())


@pytest.fixture(scope="module")
def pack(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packs") / "c"
    write_pack(packed, path)
    return path


def outputs_of(content: bytes, images: Bytes) -> list[Bytes]:
    """Run images (n, h, w, c) by LiteRT's reference kernels; return each output."""
    kernels = interpreter.OpResolverType.BUILTIN_REF
    model = interpreter.Interpreter(model_content=content, experimental_op_resolver_type=kernels)
    model.allocate_tensors()
    found = []
    for image in images:
        model.set_tensor(model.get_input_details()[0]["index"], image[np.newaxis])
        model.invoke()
        found.append([model.get_tensor(each["index"])[0] for each in model.get_output_details()])
    return [np.stack(each) for each in zip(*found, strict=True)]


def noise(content: bytes, count: int = 20) -> Bytes:
    graph = unpacked(content).subgraphs[0]
    size = tuple(graph.tensors[int(graph.inputs[0])].shape[1:])
    return np.random.default_rng(3).integers(-128, 128, (count, *size), np.int8)


def kinds_of(content: bytes) -> list[str]:
    return [each.kind for each in read_tflite(content).operators]


def library_of(sources: Path, folder: Path) -> Any:
    """Return the C of a folder as a library."""
    library = folder / "library.so"
    command = ["cc", "-O2", "-shared", "-fPIC", *sources.glob("*.c"), "-o", library]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def bytes_in_c(content: bytes, images: Bytes, size: int, folder: Path) -> Bytes:
    """Return the outputs of size bytes by the C that bakenn generates."""
    generate(content, folder / "c")
    infer = library_of(folder / "c", folder).bknn_model_infer
    arena, found = np.zeros(1 << 20, np.uint8), np.zeros((len(images), size), np.int8)
    aligned = ctypes.c_void_p(arena.ctypes.data + -arena.ctypes.data % 16)
    for image, row in zip(images, found, strict=True):
        infer(aligned, ctypes.c_void_p(image.ctypes.data), ctypes.c_void_p(row.ctypes.data))
    return found


@needs_tools
@pytest.mark.medium
@pytest.mark.parametrize(
    ("scale", "zero_point", "keeps_axes"),
    [(0.0129, -128, False), (0.0081, -17, True), (0.1, 5, False)],
)
def test_a_mean_in_c_gives_the_bytes_of_tflite(
    packed: Packed, tmp_path: Path, scale: float, zero_point: int, keeps_axes: bool
) -> None:
    """In and out have other scales."""
    model = unpacked(logits_of_one_image(read_stamped(packed.path).model, 0))
    graph, code = model.subgraphs[0], schema.BuiltinOperator.MEAN
    codes = [each.builtinCode for each in model.operatorCodes]
    mean = next(each for each in graph.operators if codes[each.opcodeIndex] == code)
    source, result = graph.tensors[mean.inputs[0]], graph.tensors[mean.outputs[0]]
    result.quantization.scale = np.array([scale], np.float32)
    result.quantization.zeroPoint = np.array([zero_point], np.int64)
    if keeps_axes:
        result.shape, mean.builtinOptions.keepDims = np.array([1, 1, 1, SIZE], np.int32), True
    graph.operators, graph.inputs, graph.outputs = [mean], mean.inputs[:1], mean.outputs
    content = flatbuffer(model)
    spread = np.random.default_rng(3).exponential(40, (100, *source.shape[1:]))
    images = (np.minimum(spread, 255) - 128).astype(np.int8)
    expected = outputs_of(content, images)[0].reshape(-1, SIZE)
    assert len(np.unique(expected)) > 10
    assert np.array_equal(bytes_in_c(compilable(content), images, SIZE, tmp_path), expected)


def test_a_softmax_at_the_end_is_cut_off(packed: Packed) -> None:
    model = unpacked(read_stamped(packed.path).model)
    graph = model.subgraphs[0]
    code, softmax = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SOFTMAX
    model.operatorCodes.append(code)
    softmax.opcodeIndex = len(model.operatorCodes) - 1
    softmax.inputs, softmax.outputs = graph.outputs, np.array([len(graph.tensors)], np.int32)
    graph.tensors.append(graph.tensors[int(graph.outputs[0])])
    graph.operators.append(softmax)
    plain, graph.outputs = read_stamped(packed.path).model, softmax.outputs
    cut = logits_of_one_image(flatbuffer(model), 0)
    assert kinds_of(cut) == kinds_of(plain)
    assert np.array_equal(outputs_of(cut, noise(cut))[0], outputs_of(plain, noise(cut))[0])


def test_logits_of_a_cut_softmax_are_logarithms_of_its_probabilities() -> None:
    """Also of 255 steps of 1: e^255 is more than a float32 holds."""
    stored = np.array([[-128, 127, -128], [0, 0, -128]], np.int8)
    found = real_logits(stored, (1.0, -128), normalized=True)
    assert found.tolist() == [
        [-255, 0, -255],
        pytest.approx([np.log(0.5), np.log(0.5), -128.69315]),
    ]
    assert real_logits(stored, (0.5, -1), normalized=False)[0].tolist() == [-63.5, 64, -63.5]


@pytest.mark.slow
def test_of_a_file_with_an_embedding_the_logits_are_compiled(embedding_bundle: Path) -> None:
    file = read_stamped(embedding_bundle / "int8.tflite")
    logits = logits_of_one_image(file.model, file.stamp.output.position)
    images = noise(logits)
    position = file.stamp.output.position
    assert np.array_equal(outputs_of(logits, images)[0], outputs_of(file.model, images)[position])


@needs_tools
@pytest.mark.medium
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("mean", [100.0, (1.0, 50.0, 130.0)])
def test_the_tensor_in_c_is_that_of_python(
    packed: Packed, tmp_path: Path, bgr: bool, mean: float | tuple[float, ...]
) -> None:
    """The model is one that gives its input; there is a class for each value."""
    spec = InputSpec(
        height=2, width=3, channels=3, dtype="int8", scale=0.7, zero_point=4, mean=mean, bgr=bgr
    )
    labels, output = tuple("abcdefghijklmnopqr"), dataclasses.replace(packed.stamp.output, size=18)
    stamp = dataclasses.replace(
        packed.stamp, input=spec, labels=labels, outputs=(output,), test_vectors=(), reference=None
    )
    facts = classifier_facts(dataclasses.replace(packed, stamp=stamp), (0.1, 0))
    write_filled(tmp_path, _FILES, ("model/classifier.h", "model/classifier.c"), facts)
    (tmp_path / "model" / "bknn_model.h").write_text(
        "#define BKNN_MODEL_ARENA_SIZE 0\n#define BKNN_MODEL_ARENA_ALIGNMENT 16\n"
        "static void bknn_model_infer(uint8_t *arena, const int8_t *input, int8_t *output) {\n"
        "    for (int at = 0; at < 18; ++at) output[at] = arena ? 0 : input[at];\n}\n"
    )
    images = np.random.default_rng(1).integers(0, 256, (20, 2, 3, 3), np.uint8)
    infer, found = library_of(tmp_path / "model", tmp_path).hemline_infer, np.zeros(18, np.int8)
    for image in images:
        infer(image.tobytes(), ctypes.c_void_p(found.ctypes.data))
        assert found.tolist() == PixelEncoder(spec).encode_one(image).ravel().tolist()


@needs_tools
@pytest.mark.medium
def test_labels_and_scores_in_c_are_those_of_python(
    pack: Path, packed: Packed, tmp_path: Path
) -> None:
    class Result(ctypes.Structure):
        _fields_ = (("index", ctypes.c_int), ("score", ctypes.c_float), ("u", ctypes.c_bool))

    decode = library_of(pack / "model", tmp_path).hemline_decode
    decode.restype = Result
    split = load_split(packed.bundle, "validation", packed.manifest.evaluation_sha256)
    file = read_stamped(packed.path)
    with Classifier(file, BACKENDS["litert"], threads=1) as classifier:
        for image in split.images[:50]:
            wanted = classifier.classify(image)
            found = decode(wanted.stored.astype(np.int8).tobytes())
            assert (found.index, found.u) == (wanted.index, wanted.label == "unknown")
            assert found.score == pytest.approx(wanted.score, abs=1e-6)  # float32


@needs_tools
@pytest.mark.medium
def test_a_pack_tests_itself(pack: Path) -> None:
    done = subprocess.run(["make", "test"], cwd=pack, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"passed: (\d+) of \1 images give the bytes of the pack", done.stdout)


@needs_tools
@pytest.mark.medium
def test_other_bytes_fail_the_self_test(pack: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pack, tmp_path / "pack", ignore=shutil.ignore_patterns("build"))
    text = (copy / "model" / "classifier.c").read_text()
    (copy / "model" / "classifier.c").write_text(text.replace("-128, -127,", "-128, -28,", 1))
    damaged = subprocess.run(["make", "test"], cwd=copy, capture_output=True, text=True)
    assert "model/classifier.c: FAILED" in damaged.stdout
    assert not (copy / "build" / "selftest").exists()  # sums first: a compiler says less
    command = ["make", "-o", "intact", "test"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode != 0
    assert "other bytes than in the pack" in done.stdout


@needs_tools
@pytest.mark.medium
def test_another_compiler_is_not_answered_by_the_program_of_the_last(
    pack: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(pack, tmp_path / "pack")
    subprocess.run(["make", "build/stream", "CFLAGS=-O0"], cwd=copy, check=True)
    command = ["make", "build/stream", "CC=no-such-compiler"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no-such-compiler" in done.stderr


@needs_tools
@pytest.mark.medium
def test_the_readme_states_what_was_measured(pack: Path) -> None:
    text = (pack / "README.md").read_text()
    assert len(text.splitlines()) <= 26
    assert re.search(r"needs [\d,]{6} bytes of flash \(.+\) and [\d,]{5,6} bytes of SRAM", text)
    found = re.search(r"On (\d+) validation images, the C gave the label .+ (\d+) times", text)
    assert found is not None
    assert found[1] == found[2] == "100"
    share = re.search(r"and ([\d.]+) % of their bytes; the largest step is [01]\.", text)
    assert share is not None
    assert float(share[1]) > 99
    assert "the tensor arena was not measured" in text
    card = (pack / "MODEL_CARD.md").read_text()
    assert f"\n- {found[0]}" in card
    assert "- A Cortex-M4 needs " in card
    assert "These are Python's runtimes." in card


@needs_tools
@pytest.mark.medium
def test_the_form_for_tflite_micro_has_the_model_and_its_operators(
    pack: Path, packed: Packed, tmp_path: Path
) -> None:
    """Compiled with a resolver of its interface: no package has the sources of TFLite Micro."""
    interface = tmp_path / "tensorflow" / "lite" / "micro" / "micro_mutable_op_resolver.h"
    interface.parent.mkdir(parents=True)
    kinds = ("Conv2D", "MaxPool2D", "Add", "Mean", "FullyConnected")
    methods = "".join(f"TfLiteStatus Add{each}() {{ return kTfLiteOk; }}\n" for each in kinds)
    interface.write_text(
        "enum TfLiteStatus { kTfLiteOk };\n#define TF_LITE_ENSURE_STATUS(x) (void)(x)\n"
        f"namespace tflite {{ template <int n> struct MicroMutableOpResolver {{ {methods} }}; }}"
    )
    program = tmp_path / "program.cc"
    program.write_text(
        '#include <cstdio>\n#include "model_data.h"\n#include "operators.h"\n'
        "int main() { ModelOpResolver r; "
        "fwrite(hemline_model, 1, kModelBytes, stdout); return RegisterOps(r); }"
    )
    form = pack / "tflite-micro"
    command = [
        "c++",
        "-Wall",
        "-Werror",
        f"-I{form}",
        f"-I{tmp_path}",
        program,
        form / "model_data.cc",
    ]
    subprocess.run([*command, "-o", tmp_path / "program"], check=True)
    done = subprocess.run([tmp_path / "program"], capture_output=True, check=True)
    assert done.stdout == read_stamped(packed.path).model
    assert f"MicroMutableOpResolver<{len(kinds)}>" in (form / "operators.h").read_text()


@pytest.mark.parametrize(
    ("operator", "method"),
    [
        ("CONV_2D", "AddConv2D"),
        ("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D"),
        ("HARD_SWISH", "AddHardSwish"),
        ("PADV2", "AddPadV2"),
        ("RELU6", "AddRelu6"),
        ("BATCH_MATMUL", "AddBatchMatMul"),
    ],
)
def test_a_method_of_the_resolver_has_the_name_of_its_operator(operator: str, method: str) -> None:
    assert method_of(operator) == method


def test_any_label_is_a_c_string() -> None:
    assert c_string('Käse "??/" \\') == '"K\\303\\244se \\042\\077\\077/\\042 \\134"'


def test_a_float_file_is_refused(bundle: Path) -> None:
    with pytest.raises(GateError) as error:
        choose(bundle, C, PackOptions(artifact="fp32.tflite"))
    assert described(error.value) == (
        "fp32.tflite accepts float32, c needs int8; export it with --scheme int8"
    )


def test_a_file_with_other_operators_names_them(packed: Packed, tmp_path: Path) -> None:
    model = unpacked(read_stamped(packed.path).model)
    code = next(c for c in model.operatorCodes if c.builtinCode == schema.BuiltinOperator.MEAN)
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.REDUCE_MAX
    (tmp_path / "int8.tflite").write_bytes(stamp_tflite(flatbuffer(model), packed.stamp))
    with pytest.raises(GateError, match="int8.tflite has REDUCE_MAX: bakenn cannot") as error:
        compile_model(dataclasses.replace(packed, bundle=tmp_path))
    assert described(error.value).endswith("--device tflm`")


def test_all_memory_that_is_too_small_is_named(packed: Packed) -> None:
    small = dataclasses.replace(packed, options=PackOptions(flash_kb=2, sram_kb=1))
    with pytest.raises(GateError) as error:
        require_room(small, 2_345, 1_001)
    assert str(error.value) == (
        "int8.tflite needs 2,345 bytes of flash, 345 more than 2 kB and 1,001 bytes of SRAM, "
        "1 more than 1 kB (of 1,000 bytes)"
    )


def test_without_a_compiler_it_is_named(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramError, match=r"make is not installed, .+: apt-get install gcc make"):
        write_pack(packed, tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "kind"), [("--flash-kb", "flash"), ("--sram-kb", "SRAM")])
def test_a_model_that_is_too_large_names_the_bytes(bundle: Path, option: str, kind: str) -> None:
    result = CliRunner().invoke(cli, ["pack", str(bundle), "--for", "c", option, "5"])
    assert isinstance(result.exception, GateError)
    found = re.search(
        rf"int8.tflite needs ([\d,]+) bytes of {kind}, ([\d,]+) more than 5 kB \(of 1,000 bytes\)",
        str(result.exception),
    )
    assert found is not None
    needed, more = (int(each.replace(",", "")) for each in found.groups())
    assert needed - more == 5000


def test_without_bakenn_its_package_is_named(
    packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hemline.export.pack.c.generation", None)
    monkeypatch.delattr("hemline.export.pack.c.generation", raising=False)
    with pytest.raises(BackendError, match=r"C is made by bakenn: pip install bakenn\[tflite\]"):
        compile_model(packed)

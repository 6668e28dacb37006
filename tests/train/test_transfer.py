"""Transfer: weights from every source arrive or are refused; frozen layers stay as they were."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hemline.contract.card import Card
from hemline.data import fetch
from hemline.errors import FetchError, FileFormatError, HemlineError, UnknownNameError, UsageError
from hemline.remedies import described
from hemline.train.nets.design import Design
from hemline.train.nets.models import MODELS, build_model, seeded_model
from hemline.train.recipes.recipe import Recipe
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from hemline.train.nets import pretrained  # noqa: E402 — after TensorFlow's noise was turned off
from hemline.train.nets.pretrained import Published, pretrained_weights, published  # noqa: E402
from hemline.train.nets.transfer import ALPHA, below_the_head, freeze  # noqa: E402

Fit = Callable[..., Any]
SIDE = 32  # the smallest that the architectures take
TRANSFER = [name for name, row in MODELS.items() if row.transfer_recipe is not None]
# what Keras 3 and 2 save, what keras.applications publishes, and what Hemline itself has
QUICK_KINDS = ("new.weights.h5", "notop.h5", "ours.keras")
OTHER_KINDS = (
    "legacy.h5",
    "backbone.keras",
    "with-top.weights.h5",
    "nested.h5",
    "nested.keras",
)
CUT = ("notop.h5", "backbone.keras")
KINDS = (*QUICK_KINDS, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_KINDS))


def mobilenetv2(**fields: Any) -> Any:
    """Return our model of it, with random weights unless a file is given."""
    design = Design(resize=SIDE, **fields)
    return build_model(MODELS["mobilenetv2"], (28, 28, 1), 10, policy="float32", design=design)


def backbone(alpha: float = ALPHA, *, top: bool = False) -> Any:
    """Return keras.applications' own, with random weights."""
    shape = (SIDE, SIDE, 3)
    model = keras.applications.MobileNetV2(
        input_shape=shape, alpha=alpha, include_top=top, weights=None
    )
    random = np.random.default_rng(8)
    arrays = model.get_weights()  # changed, so that no averages of normalization are as fresh ones
    model.set_weights([array + random.uniform(0.01, 0.02, array.shape) for array in arrays])
    return model


def save_notop(model: Any, path: Path) -> None:
    """Save weights alone in the form of Keras 1 and 2, which keras.applications publishes."""
    whole = path.with_name("whole.h5")
    model.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        weights = source["model_weights"]
        for name, value in weights.attrs.items():
            target.attrs[name] = value
        for name in weights:
            weights.copy(name, target)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """Return a folder with one backbone's weights in every kind of file, and its arrays."""
    folder, model = tmp_path_factory.mktemp("weights"), backbone()
    arrays = model.get_weights()
    model.save_weights(folder / "new.weights.h5")
    model.save(folder / "legacy.h5")
    save_notop(model, folder / "notop.h5")
    model.save(folder / "backbone.keras")
    with_top = backbone(top=True)
    with_top.set_weights([*arrays, *with_top.get_weights()[len(arrays) :]])
    with_top.save_weights(folder / "with-top.weights.h5")
    ours = mobilenetv2()
    ours.set_weights([*arrays, *ours.get_weights()[len(arrays) :]])
    ours.save(folder / "ours.keras")
    features = keras.Sequential([model, keras.layers.GlobalAveragePooling2D()])
    nested = keras.Sequential([features, keras.layers.Dense(2)])
    nested.build((None, SIDE, SIDE, 3))
    for name in ("nested.h5", "nested.keras"):
        nested.save(folder / name)
    with h5py.File(folder / "nested.h5", "a") as file:  # as Keras 2 names them
        names: list[str] = []
        file.visit(names.append)
        for name in (each for each in names if each.endswith("depthwise/kernel")):
            file.move(name, name.replace("/kernel", "/depthwise_kernel:0"))
    return folder, arrays


def arrays_below(model: Any) -> list[np.ndarray]:
    return [array for layer in below_the_head(model) for array in layer.get_weights()]


@pytest.mark.medium
@pytest.mark.parametrize("name", KINDS)
def test_weights_from_every_kind_of_file_arrive(
    kept: tuple[Path, list[np.ndarray]], name: str
) -> None:
    folder, arrays = kept
    for one, other in zip(arrays_below(mobilenetv2(weights=folder / name)), arrays, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "other.weights.h5",
        *(
            pytest.param(x, marks=pytest.mark.slow)
            for x in ("other.h5", "few.weights.h5", "few.h5")
        ),
    ],
)
def test_weights_of_another_architecture_are_told_with_the_layer(tmp_path: Path, name: str) -> None:
    other = keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.Conv2D(16, 3)])
    other = other if name.startswith("few") else backbone(0.5)
    if name in ("other.h5", "few.h5"):
        save_notop(other, tmp_path / name)
    else:
        other.save_weights(tmp_path / name)
    with pytest.raises(UsageError, match="does not have the weights of mobilenetv2") as caught:
        mobilenetv2(weights=tmp_path / name)
    message = str(caught.value)
    expected = {
        "few.weights.h5": "layer Conv1 counts 2 arrays in the file, not 1;",
        "few.h5": "it has 104 layers with weights, the file 1;",
    }
    shapes = "layer block_1_project has shape (1, 1, 48, 16) in the file, not (1, 1, 48, 8);"
    assert f"top: {expected.get(name, shapes)} name other weights" in message


@pytest.mark.medium
@pytest.mark.parametrize(
    "name",
    ["new.weights.h5", *(pytest.param(x, marks=pytest.mark.slow) for x in CUT)],
)
def test_a_file_that_was_cut_is_called_damaged(
    kept: tuple[Path, list[np.ndarray]], tmp_path: Path, name: str
) -> None:
    content = (kept[0] / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    path = pretrained_weights(MODELS["mobilenetv2"], str(tmp_path / name))
    with pytest.raises(FileFormatError, match="is damaged"):
        mobilenetv2(weights=path)


def test_images_that_are_too_small_have_a_message_of_their_own() -> None:
    with pytest.raises(UsageError, match="needs images of at least 32 pixels"):
        build_model(MODELS["vgg16"], (28, 28, 1), 10, policy="float32", design=Design(resize=16))


@pytest.mark.medium
def test_a_model_that_nobody_tells_to_train_does_not() -> None:
    """keras.layers.Resizing would have all that follows it train."""
    model, images = mobilenetv2(), np.random.default_rng(1).uniform(0, 255, (4, 28, 28, 1))
    before = model.get_weights()
    np.testing.assert_array_equal(model(images), model(images, training=False))
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_random_means_no_file_and_a_checkpoint_means_its_model(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    assert pretrained_weights(MODELS["vgg16"], "random") is None
    assert pretrained_weights(MODELS["vgg16"], str(tmp_path)) == tmp_path / "checkpoint.keras"


def test_what_cannot_be_weights_is_told(tmp_path: Path) -> None:
    row = MODELS["resnet50"]
    with pytest.raises(UnknownNameError, match="did you mean 'imagenet'"):
        pretrained_weights(row, "imagnet")
    with pytest.raises(UsageError, match=r"no\.h5 is not a weights file: name an \.h5"):
        pretrained_weights(row, str(tmp_path / "no.h5"))
    with pytest.raises(UsageError, match="is not a weights file"):
        pretrained_weights(row, str(tmp_path))
    for name in ("text.h5", "text.keras"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(FileFormatError, match="does not match its file type"):
            pretrained_weights(row, str(tmp_path / name))
    (tmp_path / "weights.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match="is not a weights file"):
        pretrained_weights(row, str(tmp_path / "weights.npz"))


@pytest.mark.parametrize("name", TRANSFER)
def test_the_library_knows_where_the_weights_of_each_transfer_model_are(name: str) -> None:
    found = published(MODELS[name])
    assert found.url.startswith("https://")
    assert found.name.endswith(("_no_top.h5", "_notop.h5"))
    assert found.md5 is None or len(found.md5) == 32


class Server:
    """Serves one file under any name, on the loopback; counts how often it was asked."""

    def __init__(self) -> None:
        self.content, self.promised, self.asked = b"", 0, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                self.send_response(200)
                self.send_header("Content-Length", str(outer.promised or len(outer.content)))
                self.end_headers()
                self.wfile.write(outer.content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def publish(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[int, str | None], Published]:
    """Return a function that has the weights of mobilenetv2 be at a port, with this MD5."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def at(port: int, md5: str | None = None) -> Published:
        row = Published(url=f"http://127.0.0.1:{port}/small_no_top.h5", md5=md5)
        monkeypatch.setitem(pretrained._PUBLISHED, "mobilenetv2", lambda _: row)
        return row

    return at


def imagenet() -> Path | None:
    return pretrained_weights(MODELS["mobilenetv2"], "imagenet")


@pytest.mark.medium
def test_downloaded_weights_are_kept_where_keras_looks_for_them(
    server: Server,
    publish: Callable[..., Published],
    kept: tuple[Path, list[np.ndarray]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.content = (kept[0] / "notop.h5").read_bytes()
    publish(server.http.server_address[1])
    path = imagenet()
    assert path == tmp_path / "keras" / "models" / "small_no_top.h5"
    assert path.read_bytes() == server.content
    assert capsys.readouterr().out == "", "standard output is for results"
    assert (imagenet(), server.asked) == (path, 1)
    path.write_bytes(server.content[:1000])
    assert (imagenet(), server.asked) == (path, 2), "a damaged one is fetched again"
    assert path.read_bytes() == server.content


@pytest.mark.medium
@pytest.mark.parametrize("fault", ["is truncated", "another file", "no weights"])
def test_what_is_not_the_file_that_was_promised_is_not_kept(
    server: Server,
    publish: Callable[..., Published],
    kept: tuple[Path, list[np.ndarray]],
    tmp_path: Path,
    fault: str,
) -> None:
    server.content = (kept[0] / "notop.h5").read_bytes()
    if fault == "is truncated":
        server.promised = len(server.content) + 1
    if fault == "no weights":
        server.content = b"<html>sign in to this network</html>"
    publish(server.http.server_address[1], "0" * 32 if fault == "another file" else None)
    with pytest.raises(FetchError, match="no ImageNet weights for mobilenetv2"):
        imagenet()
    assert not list(tmp_path.rglob("keras/models/*"))


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_without_a_network_one_error_names_both_ways_to_get_weights(
    publish: Callable[..., Published],
) -> None:
    wanted = publish(closed_port())
    with pytest.raises(FetchError, match="cannot be reached") as caught:
        imagenet()
    message = described(caught.value)
    for way in (wanted.url, "--weights small_no_top.h5", "--weights random"):
        assert way in message
    assert "\n" not in message


def test_a_proxy_that_does_not_answer_is_told_without_codes(
    publish: Callable[..., Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(closed_port())
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "")
    # the library reads the variables once in a process, for all that it opens later
    monkeypatch.setattr("urllib.request._opener", None)
    with pytest.raises(FetchError, match=r"mobilenetv2: http\S+ failed \(connection refused\)$"):
        imagenet()


def test_a_server_that_says_nothing_is_left_in_time(
    publish: Callable[..., Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "STALL_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publish(silent.getsockname()[1])
        with pytest.raises(FetchError, match="timed out"):
            imagenet()
    assert socket.getdefaulttimeout() is None


def test_a_host_that_lets_connections_hang_is_left_in_time(
    publish: Callable[..., Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "REACH_SECONDS", 0.3)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(3):  # what the system answers by itself, before anybody accepts
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(full.getsockname())
        publish(full.getsockname()[1])
        with pytest.raises(FetchError, match=r"did not answer|timed out"):
            imagenet()
        for each in waiting:
            each.close()


@pytest.mark.medium
@pytest.mark.parametrize("last", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_only_the_top_and_the_last_layers_below_it_are_left_to_train(last: int) -> None:
    model = mobilenetv2()
    freeze(model, but_last=last)
    below = [layer for layer in below_the_head(model) if layer.weights]
    free = [layer for layer in below[len(below) - last :] if "BN" not in layer.name]
    expected = [v.path for layer in free if layer.name != "Conv_1_bn" for v in layer.weights]
    found = [variable.path for variable in model.trainable_variables]
    assert found == [*expected, "head_logits/kernel", "head_logits/bias"]


def test_weights_for_a_model_without_a_pretrained_part_are_refused(
    train_checkpoint: Callable[..., Card], tmp_path: Path
) -> None:
    with pytest.raises(HemlineError, match="hem-50k has no pretrained layers"):
        train_checkpoint(tmp_path, frozen_epochs=1)


@pytest.mark.slow
def test_the_two_phases_change_what_they_may_and_a_resumed_run_is_the_whole_one(
    fit_small: Fit, kept: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    """Epoch 1 trains the top, epochs 2 and 3 the last four layers below it too."""
    fields = {"epochs": 3, "frozen_epochs": 1, "fine_tuned_layers": 4}
    seen: list[list[np.ndarray]] = []
    folder = tmp_path / "whole"

    def look(epoch: Any) -> None:
        with np.load(folder / "progress" / f"kept-{epoch.epoch}.npz") as arrays:
            seen.append([arrays[name] for name in arrays.files])

    def run(folder: Path, **more: Any) -> Any:
        recipe = Recipe(resize=SIDE)
        row, weights = MODELS["mobilenetv2"], kept[0] / "notop.h5"
        model = seeded_model(row, recipe, (12, 12, 1), 4, seed=1, weights=weights)
        return fit_small(folder, model=model, **fields, **more)

    whole = run(folder, look=look)
    shape_alone = mobilenetv2()
    names = [variable.path for variable in shape_alone.weights]
    below = len(kept[1])
    last = [layer for layer in below_the_head(shape_alone) if layer.weights][-4:]
    free = {
        variable.path
        for layer in last
        if not isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.weights
    }
    assert free
    first, second, third = seen
    for name, loaded, frozen, tuned in zip(names, kept[1], first, third, strict=False):
        np.testing.assert_array_equal(loaded, frozen, err_msg=name)
        assert np.array_equal(frozen, tuned) == (name not in free), name
    assert any(not np.array_equal(a, b) for a, b in zip(second[below:], third[below:], strict=True))
    for stop in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", stop_after=stop)
    resumed = run(tmp_path / "stopped")
    for one, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

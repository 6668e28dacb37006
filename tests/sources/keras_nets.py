"""Make the sources of Keras 3: python keras_nets.py FOLDER NAME…

For each NAME writes the model and NAME.npy: its probabilities for the test images.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import applications, layers
from linear import fitted
from pictures import RANGES
from sources import SOURCES, Source

Tensor = keras.KerasTensor
EPOCHS = int(os.environ.get("SOURCES_EPOCHS", "8"))


def conv(x: Tensor, width: int, kernel: int = 3, **options: object) -> Tensor:
    return layers.Conv2D(width, kernel, padding="same", use_bias=False, **options)(x)


def block(x: Tensor, width: int, activation: object = "relu", **options: object) -> Tensor:
    """Return convolution, normalization, activation."""
    x = layers.BatchNormalization()(conv(x, width, **options))
    return layers.Activation(activation)(x)


def staged(body: Callable[[Tensor, int], Tensor], *, pool: object = layers.MaxPooling2D) -> Tensor:
    """Return what `body` does at three sizes, with a pooling behind the first two."""

    def whole(x: Tensor) -> Tensor:
        for stage, width in enumerate((16, 32, 64)):
            x = body(x, width)
            x = pool(2)(x) if stage < 2 else x
        return layers.GlobalAveragePooling2D()(x)

    return whole


def plain(x: Tensor) -> Tensor:
    for width in (16, 32):
        x = layers.MaxPooling2D(2)(block(x, width))
    x = layers.Flatten()(x)
    x = layers.BatchNormalization()(layers.Dense(64, use_bias=False)(x))
    return layers.Dropout(0.2)(layers.ReLU()(x))


def dense_net(x: Tensor) -> Tensor:
    for stage in range(3):
        for _ in range(3):
            x = layers.Concatenate()([x, block(x, 12)])
        x = layers.AveragePooling2D(2)(block(x, 24, kernel=1)) if stage < 2 else x
    return layers.GlobalAveragePooling2D()(x)


def excited(x: Tensor, width: int) -> Tensor:
    x = block(x, width)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(width // 4, 1, activation="relu")(gate)
    gate = layers.Conv2D(width, 1, activation="sigmoid")(gate)
    return layers.Multiply()([x, gate])


def inception(x: Tensor, width: int) -> Tensor:
    pooled = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    branches = [block(x, width // 4, kernel=size) for size in (1, 3, 5)]
    return layers.Concatenate()([*branches, block(pooled, width // 4, kernel=1)])


def residual(x: Tensor, width: int) -> Tensor:
    x = block(x, width)
    y = layers.BatchNormalization()(conv(block(x, width), width))
    return layers.ReLU()(layers.Add()([x, y]))


def norm_first(x: Tensor, width: int) -> Tensor:
    x = conv(x, width)
    y = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.ReLU()(layers.BatchNormalization()(conv(y, width)))
    return layers.Add()([x, conv(y, width)])


def norm_after(x: Tensor, width: int) -> Tensor:
    x = layers.BatchNormalization()(layers.ReLU()(conv(x, width)))
    y = layers.BatchNormalization()(layers.ReLU()(conv(x, width)))
    return layers.Add()([x, y])


def separable(x: Tensor, width: int) -> Tensor:
    relu6 = keras.ops.relu6
    x = block(x, width, relu6) if x.shape[-1] == 3 else x
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    return block(layers.ReLU(6)(x), width, relu6, kernel=1)


def conv_next(x: Tensor, width: int) -> Tensor:
    x = layers.LayerNormalization()(layers.Conv2D(width, 1)(x))
    y = layers.LayerNormalization()(layers.DepthwiseConv2D(7, padding="same")(x))
    y = layers.Dense(width)(layers.Dense(2 * width, activation="gelu")(y))
    return layers.Add()([x, y])


def mixer(x: Tensor) -> Tensor:
    x = layers.Reshape((64, 48))(layers.Conv2D(48, 4, strides=4)(x))
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Dense(64)(layers.Dense(32, activation="gelu")(y))
        x = layers.Add()([x, layers.Permute((2, 1))(y)])
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.Dense(48)(layers.Dense(96, activation="gelu")(y))])
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))


def global_max(x: Tensor) -> Tensor:
    for width in (16, 32):
        x = layers.MaxPooling2D(2)(block(x, width))
    return layers.GlobalMaxPooling2D()(block(x, 64))


def with_activation(make: Callable[[], keras.Layer]) -> Callable[[Tensor], Tensor]:
    def body(x: Tensor, width: int) -> Tensor:
        return make()(layers.BatchNormalization()(conv(x, width)))

    return staged(body)


def application(net: Callable[..., keras.Model], **options: object) -> Callable[[Tensor], Tensor]:
    def body(x: Tensor) -> Tensor:
        return net(input_tensor=x, weights=None, include_top=False, pooling="avg", **options).output

    return body


GRAPHS: dict[str, Callable[[Tensor], Tensor]] = {
    "resnet50v2": application(applications.ResNet50V2),
    "mobilenetv2": application(applications.MobileNetV2, alpha=0.35),
    "mobilenetv3small": application(applications.MobileNetV3Small),
    "efficientnetb0": application(applications.EfficientNetB0),
    "plain": plain,
    "dense-net": dense_net,
    "swish": staged(lambda x, n: block(x, n, "swish"), pool=layers.AveragePooling2D),
    "hard-swish": staged(lambda x, n: block(x, n, "hard_swish")),
    "squeeze-excite": staged(excited),
    "inception": staged(inception),
    "global-max": global_max,
    "norm-first": staged(norm_first),
    "norm-after": staged(norm_after),
    "depthwise": staged(separable),
    "dilated": staged(lambda x, n: block(block(x, n), n, dilation_rate=2)),
    "grouped": staged(lambda x, n: block(block(x, n), n, groups=4)),
    "conv-next": staged(conv_next, pool=layers.AveragePooling2D),
    "prelu": with_activation(lambda: layers.PReLU(shared_axes=(1, 2))),
    "leaky-relu": staged(lambda x, n: layers.LeakyReLU(0.1)(block(x, n, "elu"))),
    "mixer": mixer,
    "saved-residual": staged(residual),
    "h5-keras3": plain,
    "lite-residual": staged(residual),
    "lite-hard-swish": staged(lambda x, n: block(x, n, "hard_swish")),
}


class PlainTF(tf.Module):
    """A convolutional net of TensorFlow operators; its head is fitted in closed form."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        shapes = ((5, 5, 3, 24), (3, 3, 24, 48))
        self.kernels = [
            tf.Variable(random.normal(0, np.sqrt(2 / np.prod(s[:3])), s).astype(np.float32))
            for s in shapes
        ]
        self.head: tf.Variable | None = None

    def features(self, image: tf.Tensor) -> tf.Tensor:
        for kernel in self.kernels:
            image = tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME"))
            image = tf.nn.avg_pool2d(image, 4, 4, "VALID")
        return tf.reshape(image, (-1, 192))

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32, name="picture")])
    def serve(self, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.nn.softmax(tf.matmul(self.features(picture), self.head))}


def trained(source: Source, x: np.ndarray, y: np.ndarray) -> keras.Model:
    """Return a source's net after a short training."""
    keras.utils.set_random_seed(1)
    pixels = keras.Input(x.shape[1:])
    scores = layers.Dense(int(y.max()) + 1, activation="softmax")(GRAPHS[source.name](pixels))
    model = keras.Model(pixels, scores, name=source.name.replace("-", "_"))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.8  # the moments follow within the few steps there are
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=50, epochs=EPOCHS, verbose=0)
    return model


def save(model: keras.Model, source: Source, path: Path) -> None:
    if source.kind == "saved-model":
        model.export(path, verbose=False)
    elif source.kind == "tflite":
        model.export(path.with_suffix(".saved"), verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(path.with_suffix(".saved")))
        path.write_bytes(converter.convert())
    else:
        model.save(path)


def make(source: Source, folder: Path) -> None:
    """Train a source, save it and what it gives for the test images."""
    with np.load(folder / f"images-{source.size}.npz") as images:
        x, y, test = images["x_train"], images["y_train"], images["x_test"]
    scaled = RANGES[source.pixels].of
    if source.name == "saved-plain-tf":
        module = PlainTF()
        features = np.asarray(module.features(scaled(x)))
        module.head = tf.Variable(fitted(features, y))
        tf.saved_model.save(module, str(source.file_in(folder)), {"serving_default": module.serve})
        outputs = module.serve(scaled(test))["scores"].numpy()
    else:
        model = trained(source, scaled(x), y)
        save(model, source, source.file_in(folder))
        outputs = model.predict(scaled(test), batch_size=50, verbose=0)
    np.save(folder / f"{source.name}.npy", outputs)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        make(SOURCES[name], Path(sys.argv[1]))

"""Make the sources of Keras 2: python keras2_nets.py FOLDER NAME…

Needs tf_keras beside TensorFlow. For each NAME writes the model and NAME.npy: its probabilities for
the test images.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tf_keras
from pictures import RANGES
from sources import SOURCES, Source
from tf_keras import layers

EPOCHS = int(os.environ.get("SOURCES_EPOCHS", "8"))


def normalization() -> layers.Layer:
    return layers.BatchNormalization(momentum=0.8)


def plain(classes: int) -> tf_keras.Model:
    body = []
    for width in (16, 32):
        body += [layers.Conv2D(width, 3, padding="same"), normalization()]
        body += [layers.ReLU(), layers.MaxPooling2D(2)]
    head = [layers.Flatten(), layers.Dense(64, "relu"), layers.Dense(classes, "softmax")]
    return tf_keras.Sequential([layers.Input((32, 32, 3)), *body, *head])


def nested(classes: int) -> tf_keras.Model:
    """Return what Teachable Machine makes: a sequence of a net and a sequence."""
    pixels = x = layers.Input((32, 32, 3))
    for width in (16, 32, 64):
        x = normalization()(layers.DepthwiseConv2D(3, strides=2, padding="same")(x))
        x = normalization()(layers.Conv2D(width, 1, use_bias=False)(layers.ReLU(6)(x)))
        x = layers.ReLU(6)(x)
    pooled = tf_keras.Sequential([layers.GlobalAveragePooling2D()])
    first = tf_keras.Sequential([tf_keras.Model(pixels, x), pooled])
    head = [layers.Dense(64, "relu"), layers.Dense(classes, "softmax", use_bias=False)]
    return tf_keras.Sequential([first, tf_keras.Sequential(head)])


def residual(classes: int) -> tf_keras.Model:
    pixels = x = layers.Input((32, 32, 3))
    for width in (16, 32, 64):
        x = layers.ReLU()(normalization()(layers.Conv2D(width, 3, 2, padding="same")(x)))
        y = layers.ReLU()(normalization()(layers.Conv2D(width, 3, padding="same")(x)))
        x = layers.Add()([x, normalization()(layers.Conv2D(width, 3, padding="same")(y))])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return tf_keras.Model(pixels, layers.Dense(classes, "softmax")(x))


GRAPHS = {"h5-plain": plain, "h5-nested": nested, "keras2-residual": residual}


def make(source: Source, folder: Path) -> None:
    """Train a source, save it and what it gives for the test images."""
    with np.load(folder / f"images-{source.size}.npz") as images:
        x, y, test = images["x_train"], images["y_train"], images["x_test"]
    scaled = RANGES[source.pixels].of
    tf_keras.utils.set_random_seed(1)
    model = GRAPHS[source.name](int(y.max()) + 1)
    model.compile(tf_keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(scaled(x), y, batch_size=50, epochs=EPOCHS, verbose=0)
    model.save(source.file_in(folder))
    np.save(folder / f"{source.name}.npy", model.predict(scaled(test), batch_size=50, verbose=0))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        make(SOURCES[name], Path(sys.argv[1]))

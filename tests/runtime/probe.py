"""Answer images with artifacts in one runtime, in a process that has loaded nothing else.

Usage: probe.py BUNDLE IMAGES.npy OUTPUT.npz RUNTIME ARTIFACT...
"""

import sys
from pathlib import Path

import numpy as np

from hemline.runtime import Classifier

bundle, images_path, output, runtime, *names = sys.argv[1:]
images = np.load(images_path)
arrays = {}
for name in names:
    with Classifier.load(Path(bundle) / name, runtime=runtime) as classifier:
        arrays[f"{name}/single"] = np.stack([classifier.classify(x).logits for x in images[:20]])
        arrays[f"{name}/batch"] = classifier.logits(images)
        arrays[f"{name}/labels"] = [p.index for p in classifier.classify_batch(images)]
        shape = classifier.stamp.input.shape
        arrays[f"{name}/vectors"] = np.asarray(
            [
                np.abs(classifier.classify(vector.image(shape)).logits - vector.logits).max()
                for vector in classifier.stamp.test_vectors
            ]
        )
    with Classifier.load(Path(bundle) / name, runtime=runtime, threads=2) as classifier:
        arrays[f"{name}/threads"] = classifier.logits(images)
np.savez(output, **arrays)

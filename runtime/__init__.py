"""Classify images on the device with numpy and one backend.

    from hemline.runtime import Classifier
    with Classifier.load("int8.tflite", threads=1) as classifier:
        print(classifier.classify(image).label)

Importing this package loads neither TensorFlow nor a backend nor an image library.
"""

from hemline.runtime.classifier import Classifier
from hemline.runtime.decoder import Prediction

__all__ = ["Classifier", "Prediction"]

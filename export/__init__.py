"""From a trained or imported model to verified files."""

import os

# Before ONNX Runtime is imported anywhere below: else it writes a device identifier and records of
# use into the home folder, and sends them.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

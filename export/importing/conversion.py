"""Convert one model, in a process of its own with limits.

    python -m hemline.export.importing.conversion KIND PATH FOLDER HEIGHT WIDTH [trust]

A refusal is written into FOLDER as refusal.json: its reason, and the remedy with its facts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.child_process import limit_memory
from hemline.contract import schema
from hemline.errors import FileFormatError, HemlineError
from hemline.export.importing.importers import IMPORTERS, SourceFacts
from hemline.export.importing.opened import ConversionOptions, OpenedModel, Values
from hemline.files import write_bytes, write_json
from hemline.runtime.backends import attribute

_MEMORY_BYTES = 12 << 30  # of addresses beyond those that the packages take; they reserve many
_IMAGES = 8
_LARGEST_OUTPUTS = 100_000  # classes
_LONGEST_REASON = 300


def main(arguments: list[str]) -> None:
    """Convert a model and write the result, or why there is none."""
    kind, path, target, height, width, *rest = arguments
    size = (int(height), int(width)) if int(height) else None
    folder = Path(target)
    try:
        _convert(kind, Path(path), folder, ConversionOptions(size=size, trust="trust" in rest))
    except HemlineError as error:
        _refuse(folder, str(error), error)
    except MemoryError:
        _refuse(folder, "needs more memory than an import may use")
    # what converters raise shares no base class
    except Exception as error:  # noqa: BLE001
        said = " ".join(str(error).split())
        _refuse(folder, f"cannot be converted ({type(error).__name__}: {said[:_LONGEST_REASON]})")
    sys.stdout.flush()
    os._exit(0)  # TensorFlow may crash while it shuts down


def _refuse(folder: Path, reason: str, error: HemlineError | None = None) -> None:
    named = getattr(error, "remedy", None)
    write_json(
        folder / "refusal.json",
        {
            "reason": reason,
            "remedy": named.name if named else "",
            "facts": dict(named.facts) if named else {},
        },
    )


def _convert(kind: str, path: Path, folder: Path, options: ConversionOptions) -> None:
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
    limit_memory(_MEMORY_BYTES)
    opened: OpenedModel = attribute(IMPORTERS[kind].opener)(path, options)
    inputs = reference_inputs(opened)
    outputs = _outputs(opened, inputs)
    write_bytes(folder / "model.onnx", opened.to_onnx().SerializeToString())
    np.savez(folder / "reference.npz", inputs=inputs, outputs=outputs)
    facts = SourceFacts(
        kind=kind, labels=opened.labels, scale=opened.scale, versions=opened.versions
    )
    schema.save(folder / "facts.json", facts)


def reference_inputs(opened: OpenedModel) -> Values:
    """Return images float32 (8, *shape) with what the source takes: smooth, noisy, flat.

    Between −1 and 1 where the range is not known: most models take 0 … 1 or −1 … 1.
    """
    random = np.random.default_rng(5)
    low, high = (-1.0, 1.0) if opened.scale is None else opened.scale.range
    noise = random.random((_IMAGES, *opened.shape), dtype=np.float32)
    level = random.random((_IMAGES, *([1] * len(opened.shape))), dtype=np.float32)
    mixed = 0.5 * noise + 0.5 * level
    mixed[0] = 0.5
    values = (low + (high - low) * mixed).astype(np.float32)
    return values.round() if opened.whole else values


def _outputs(opened: OpenedModel, inputs: Values) -> npt.NDArray[np.float32]:
    first, second = (np.asarray(opened.run(inputs), np.float32) for _ in range(2))
    if not np.isfinite(first).all():
        raise FileFormatError("returns non-finite values")
    if not np.array_equal(first, second):
        raise FileFormatError(
            "returns different values for the same images on each run: it was exported in "
            "training mode; export it in inference mode"
        )
    values = first.reshape(len(inputs), -1) if first.size else first
    if not 1 <= values.shape[-1] <= _LARGEST_OUTPUTS:
        raise FileFormatError(f"returns {values.shape[-1]:,} values per image: not a classifier")
    return values


if __name__ == "__main__":
    main(sys.argv[1:])

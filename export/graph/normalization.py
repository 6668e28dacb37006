"""Any float ONNX classifier as the graph that plans, writers and training work on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from hemline.contract.specs import LOGITS
from hemline.errors import FileFormatError, first_line
from hemline.export.graph.editing import Graph
from hemline.export.graph.forms import Layout, folded, source_input, static_form
from hemline.export.graph.passes.activations import fuse_activations
from hemline.export.graph.passes.batch import open_batch
from hemline.export.graph.passes.channels import merge_copies, reverse_channels
from hemline.export.graph.passes.cleaning import clean
from hemline.export.graph.passes.folding import fold_affine, replace_lone_normalizations
from hemline.export.graph.passes.heads import write_logits
from hemline.export.graph.passes.layout import remove_transpositions, transpose_image_first
from hemline.export.graph.passes.lowering import lower
from hemline.export.graph.passes.naming import rename
from hemline.export.graph.passes.pixels import centre_by_convolution, write_pixel_input
from hemline.export.graph.refusals import require_importable, require_known, require_no_control_flow

_ROUNDING = 1e-3  # of the largest logit: kernels for one image sum in another order than for two


def normalized(
    proto: onnx.ModelProto,
    *,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    bgr: bool = False,
    size: tuple[int, int] | None = None,
    layout: Layout | None = None,
    outputs: tuple[str, ...] = (LOGITS,),
) -> onnx.ModelProto:
    """Return a classifier as a graph: pixels (batch, h, w, c) in, logits (batch, classes) out.

    The source takes (pixel − mean) ÷ std, each one number or one for each channel, in pixel units;
    with `bgr` its channels are blue, green and red, those of the graph red, green and blue.
    `size` is height and width where the file leaves them open, `layout` the order of its input's
    dimensions where they do not tell. `outputs` names the outputs in the order of the file.

    The graph has opset 17, static shapes but for the batch, and the names of naming.py. Raises
    FileFormatError for what cannot be done, naming operator and node.
    """
    require_importable(proto)
    image = source_input(proto, size=size, layout=layout)
    if len(proto.graph.output) != len(outputs):
        names = ", ".join(each.name for each in proto.graph.output)
        raise FileFormatError(f"a classifier has one output, this model has: {names}")
    simplified = folded(static_form(proto, image))
    require_no_control_flow(simplified)
    graph = Graph(simplified)
    write_pixel_input(graph, image, mean=mean, std=std)
    lower(graph)
    clean(graph)
    write_logits(graph, names=outputs)
    fuse_activations(graph)
    transpose_image_first(graph)
    remove_transpositions(graph)
    fold_affine(graph)
    centre_by_convolution(graph)
    fold_affine(graph)
    replace_lone_normalizations(graph)
    if bgr:
        reverse_channels(graph)
    remove_transpositions(graph)
    merge_copies(graph)
    require_known(graph)
    open_batch(graph)
    rename(graph, outputs)
    return _checked(graph)


def _checked(graph: Graph) -> onnx.ModelProto:
    graph.drop_unused()
    proto = graph.proto(open_batch=True)
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True, strict_mode=True)
    onnx.checker.check_model(inferred, full_check=True)
    _require_independent_images(inferred)
    return inferred


def _require_independent_images(proto: onnx.ModelProto) -> None:
    """Raise FileFormatError where a batch gives an image something else than the image alone."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (image,) = session.get_inputs()
    shape = (2, *image.shape[1:])
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    try:
        together = session.run(None, {image.name: pixels})[0]
        alone = [session.run(None, {image.name: each})[0] for each in np.split(pixels, 2)]
    except Exception as error:
        reason = first_line(error)
        raise FileFormatError(f"the model accepts only one image, not batches: {reason}") from error
    if not np.isfinite(together).all():
        raise FileFormatError("the model returns values that are not numbers")
    if np.abs(together - np.concatenate(alone)).max() > _ROUNDING * np.abs(together).max():
        raise FileFormatError("the model returns different values for an image in a batch")

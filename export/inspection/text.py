"""What a model file holds, as text."""

from __future__ import annotations

from collections.abc import Sequence

from hemline.model_files.contents import Contents, Operator, Tensor
from hemline.tables import Table, macs_text

_LONGEST_NAME = 40  # characters: TensorFlow's names have hundreds


def summary_rows(contents: Contents) -> dict[str, str]:
    """Return the sums of a model by title."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in contents.kinds.items())
    return {
        "parameters": f"{contents.parameters:,} ({contents.weight_bytes / 1000:.1f} kB)",
        "one image": macs_text(contents.macs),
        "operators": f"{len(contents.operators)}: {kinds}",
    }


def operator_table(contents: Contents) -> Table:
    """Return a row for each operator that computes, in the order of the file."""
    return Table.of(
        ("", "operator", "output", "weights", ">parameters", ">kB", ">MACs", ">share"),
        (_operator(contents, at, each) for at, each in enumerate(contents.operators, start=1)),
    )


def tensor_table(contents: Contents) -> Table:
    """Return a row for each tensor, values before weights: shape, type and grid."""
    values = [each for each in contents.tensors if not each.constant]
    weights = [each for each in contents.tensors if each.is_weights]
    return Table.of(
        ("tensor", "shape", "type", ">scale", ">zero point"),
        (
            (shortened(each.name), shape_text(each), each.dtype, _scale(each), _zero_point(each))
            for each in (*values, *weights)
        ),
    )


def shape_text(tensor: Tensor | None) -> str:
    """Return the sizes of a tensor, and a question mark where they are not known."""
    if tensor is None or tensor.shape is None:
        return "?"
    return " × ".join(map(str, tensor.shape)) or "scalar"


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name without its middle where it is long."""
    half = longest // 2
    return name if len(name) <= longest else f"{name[: half - 1]}…{name[-half:]}"


def weights_text(weights: Sequence[Tensor]) -> str:
    """Return shape and type of the largest weights of an operator, empty without any."""
    return f"{shape_text(weights[0])} {weights[0].dtype}" if weights else ""


def _operator(contents: Contents, at: int, operator: Operator) -> tuple[str, ...]:
    weights = contents.weights_of(operator)
    made = contents.by_name.get(operator.outputs[0]) if operator.outputs else None
    count, size = (sum(getattr(w, name) for w in weights) for name in ("elements", "size_bytes"))
    return (
        str(at),
        operator.kind,
        f"{shape_text(made)} {made.dtype}" if made is not None else "?",
        weights_text(weights),
        f"{count:,}" if weights else "",
        f"{size / 1000:.1f}" if weights else "",
        macs_text(operator.macs).removesuffix("MAC") if operator.macs else "",
        f"{100 * operator.macs / contents.macs:.0f} %" if operator.macs else "",
    )


def _scale(tensor: Tensor) -> str:
    scales = tensor.scales
    if len(scales) <= 1:
        return "".join(f"{scale:.5g}" for scale in scales)
    return f"{min(scales):.3g} … {max(scales):.3g} (axis {tensor.axis})"


def _zero_point(tensor: Tensor) -> str:
    low, high = (end(tensor.zero_points, default=0) for end in (min, max))
    if not tensor.scales:
        return ""
    return str(low) if low == high else f"{low} … {high}"

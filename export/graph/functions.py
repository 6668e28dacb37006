"""Activations that opset 17 does not have, as functions that a model brings with it.

So they are one operator to plans and to TensorFlow, and any ONNX Runtime can run them.
"""

from __future__ import annotations

import onnx
import onnx.inliner
import onnx.parser

from hemline.export.graph.editing import FUNCTIONS, OPSET

_BODIES = {
    "Gelu": """
        root = Constant <value = float {1.41421356237}> ()
        one = Constant <value = float {1.0}> ()
        half = Constant <value = float {0.5}> ()
        scaled = Div (x, root)
        error = Erf (scaled)
        sum = Add (error, one)
        product = Mul (x, sum)
        y = Mul (product, half)
    """,
    "GeluTanh": """
        factor = Constant <value = float {0.044715}> ()
        root = Constant <value = float {0.7978845608}> ()
        three = Constant <value = float {3.0}> ()
        one = Constant <value = float {1.0}> ()
        half = Constant <value = float {0.5}> ()
        cube = Pow (x, three)
        part = Mul (cube, factor)
        inner = Add (x, part)
        scaled = Mul (inner, root)
        curve = Tanh (scaled)
        sum = Add (curve, one)
        product = Mul (x, sum)
        y = Mul (product, half)
    """,
    "Mish": """
        soft = Softplus (x)
        curve = Tanh (soft)
        y = Mul (x, curve)
    """,
}


def function_of(name: str) -> onnx.FunctionProto:
    """Return the definition of an activation: y of x."""
    return onnx.parser.parse_function(
        f'<opset_import: ["" : {OPSET}], domain: "{FUNCTIONS}">\n'
        f"{name} (x) => (y) {{ {_BODIES[name]} }}"
    )


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in standard operators only; the names of its values stay."""
    return onnx.inliner.inline_local_functions(proto) if proto.functions else proto

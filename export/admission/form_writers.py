"""Write a model with a Form put into it. Runs in the confined process."""

from __future__ import annotations

from typing import Protocol

from hemline.export.admission.forms import Form, Step


class FormWriter(Protocol):
    """A model that operators are added to, at either end."""

    def before(self, step: Step) -> None:
        """Add an operator in front of the model; what it accepts is the new input."""

    def rows(self, size: int) -> None:
        """Reshape the output to rows of `size` values."""

    def two_classes(self) -> None:
        """Make [1 − p, p] of the output p of a sigmoid, or [0, z] of a logit z."""

    def content(self) -> bytes:
        """Return the model."""


def with_form(content: bytes, form: Form, file_format: str) -> bytes:
    """Return a model with the form; raises BackendError without the package that this needs."""
    writer = _writer(content, form, file_format)
    for step in reversed(form.steps):
        writer.before(step)
    if form.classes:
        writer.rows(form.classes)
    if form.one_value:
        writer.two_classes()
    return writer.content()


def _writer(content: bytes, form: Form, file_format: str) -> FormWriter:
    if file_format == "tflite":
        from hemline.export.admission.tflite_form import TFLiteForm

        return TFLiteForm(content, form)
    from hemline.export.admission.onnx_form import OnnxForm

    return OnnxForm(content, form)

"""Delegates of a TFLite interpreter that are not its own choice.

The wheel of tflite-runtime exports the C functions that make an XNNPACK delegate, whose flags
Python cannot set; LiteRT's does not. Layout and flags: tensorflow/lite/delegates/xnnpack/
xnnpack_delegate.h of TensorFlow 2.14. XNNPACK's 8-bit kernels are off there by default.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemline.errors import BackendError
from hemline.host import processor_features

if TYPE_CHECKING:
    from hemline.contract.settings import Settings

_QS8, _QU8, _FORCE_FP16 = 1, 2, 4
_HALF_PRECISION = "asimdhp"  # of ARMv8.2, in /proc/cpuinfo


class _Options(ctypes.Structure):
    """The head of TfLiteXNNPackDelegateOptions, with room for the rest of any version."""

    _fields_ = (
        ("num_threads", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 120),
    )


class _XnnpackDelegate:
    """A delegate of the library that a Python module of TFLite has loaded."""

    def __init__(self, library: Any, threads: int, flags: int) -> None:
        library.TfLiteXNNPackDelegateOptionsDefault.restype = _Options
        options = library.TfLiteXNNPackDelegateOptionsDefault()
        options.num_threads = threads
        options.flags |= flags
        library.TfLiteXNNPackDelegateCreate.restype = ctypes.c_void_p
        library.TfLiteXNNPackDelegateDelete.argtypes = [ctypes.c_void_p]
        self._delete = library.TfLiteXNNPackDelegateDelete
        self._pointer = library.TfLiteXNNPackDelegateCreate(ctypes.byref(options))
        if not self._pointer:
            raise BackendError("XNNPACK creates no delegate with these settings")

    def _get_native_delegate_pointer(self) -> int:
        return int(self._pointer)

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self._delete(self._pointer)


def interpreter_options(module: Any, threads: int, settings: Settings) -> dict[str, Any]:
    """Return what an interpreter of `module` needs for these settings; raises BackendError."""
    if settings.delegate == "builtin":
        kind = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return {"experimental_op_resolver_type": kind}
    flags = _QS8 | _QU8 if settings.delegate == "xnnpack-int8" else 0
    if settings.fp16:
        if _HALF_PRECISION not in processor_features():
            raise BackendError("this processor has no float16 arithmetic")
        flags |= _FORCE_FP16
    if not flags:
        return {}
    return {"experimental_delegates": [_XnnpackDelegate(_library(module), threads, flags)]}


def _library(module: Any) -> Any:
    """Return the loaded native library of a module; BackendError where it exports no delegate."""
    for path in sorted(Path(module.__file__).parent.glob("*interpreter_wrapper*")):
        library = ctypes.CDLL(str(path))
        if hasattr(library, "TfLiteXNNPackDelegateCreate"):
            return library
    package = module.__name__.partition(".")[0]
    raise BackendError(f"{package} cannot set XNNPACK's flags: tflite-runtime 2.14 can")

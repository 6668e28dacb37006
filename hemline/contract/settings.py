"""How a runtime is opened and its process set up, beyond threads and batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Delegate = Literal["default", "builtin", "xnnpack-int8"]
Optimization = Literal["all", "extended", "basic", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is not left to the runtime; the defaults leave everything to it.

    refused: features of the processor that the process gives up before it loads a runtime ("amx").
    delegate: of a TFLite interpreter: its own choice, none at all, or XNNPACK with int8 kernels.
    optimization: of ONNX Runtime's graph.
    fp16: whether float32 may be computed in float16, where the processor can.
    cores: logical cores that the process is pinned to; empty for any.
    """

    refused: tuple[str, ...] = ()
    delegate: Delegate = "default"
    optimization: Optimization = "all"
    fp16: bool = False
    cores: tuple[int, ...] = ()

    @property
    def of_process(self) -> Settings:
        """Return what a process has once, before it loads a runtime."""
        return Settings(refused=self.refused, cores=self.cores)

    @property
    def text(self) -> str:
        """Return what is set in a few words; empty where nothing is."""
        parts = [f"{feature.upper()} refused" for feature in self.refused]
        if self.delegate != "default":
            parts.append({"builtin": "no delegate", "xnnpack-int8": "XNNPACK int8"}[self.delegate])
        if self.optimization != "all":
            parts.append(f"graph optimization {self.optimization}")
        if self.fp16:
            parts.append("fp16 arithmetic")
        if self.cores:
            parts.append(f"core {','.join(map(str, self.cores))}")
        return ", ".join(parts)


DEFAULT = Settings()

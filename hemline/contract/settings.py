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


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedSettings:
    """Settings that made an artifact faster on one kind of processor, and still passed.

    processor: as HostFacts.processor_kind.
    artifact_sha256: of the whole file.
    runtime, version: that it was measured in.
    threads, settings: the fastest of those that were tried.
    before_ns, after_ns: medians with the defaults and with these, in the same rounds.
    date: UTC time, ISO 8601.
    """

    processor: str
    artifact_sha256: str
    runtime: str
    version: str
    threads: int
    settings: Settings
    before_ns: int
    after_ns: int
    date: str

    @property
    def text(self) -> str:
        """Return what is set in a few words."""
        threads = f"{self.threads} threads" if self.threads > 1 else ""
        return ", ".join(filter(None, (threads, self.settings.text)))

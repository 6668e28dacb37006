"""Make the sources of PyTorch: PYTHON torch_nets.py FOLDER NAME…

PYTHON has torch, onnx and onnxscript. For each NAME writes the model as torch.onnx.export
does, and NAME.npy: what PyTorch gives for the test images, as probabilities.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pictures import RANGES
from sources import SOURCES, Source
from torch import nn

EPOCHS = int(os.environ.get("SOURCES_EPOCHS", "8"))


def block(inside: int, width: int, kernel: int = 3, **options: int) -> nn.Sequential:
    options = {"padding": kernel // 2, **options}
    convolution = nn.Conv2d(inside, width, kernel, bias=False, **options)
    return nn.Sequential(convolution, nn.BatchNorm2d(width, momentum=0.2), nn.ReLU(inplace=True))


def cnn(classes: int) -> nn.Module:
    return nn.Sequential(
        block(3, 16),
        nn.MaxPool2d(3, 2, 1),
        block(16, 32),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 64, 64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(64, classes),
    )


class Residual(nn.Module):
    """Two convolutions beside the identity, or beside one of 1 × 1."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(block(inside, width, stride=stride), block(width, width)[:2])
        short = block(inside, width, 1, stride=stride)[:2]
        self.short = nn.Identity() if stride == 1 else short

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.short(x))


class Inverted(nn.Module):
    """What MobileNetV3 is made of: wider, depthwise, gate, narrower."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        wide = 3 * inside
        self.wider = block(inside, wide, 1)[:2]
        self.depthwise = block(wide, wide, 5, stride=stride, groups=wide)[:2]
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(wide, wide // 4, 1),
            nn.ReLU(),
            nn.Conv2d(wide // 4, wide, 1),
            nn.Hardsigmoid(),
        )
        self.narrower = block(wide, width, 1)[:2]
        self.short = stride == 1 and inside == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.hardswish(self.depthwise(nn.functional.hardswish(self.wider(x))))
        y = self.narrower(y * self.gate(y))
        return x + y if self.short else y


class ConvNext(nn.Module):
    """7 × 7 depthwise, then channels last: LayerNorm and two layers with GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.scale = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.scale * self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + y.permute(0, 3, 1, 2)


class Transformer(nn.Module):
    """Patches of 8 × 8 pixels, two layers of attention, the mean of all patches."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 48, 8, stride=8)
        self.places = nn.Parameter(torch.randn(1, 16, 48) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(48, 4, 96, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.head = nn.Linear(48, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def pooled(*layers: nn.Module, width: int, classes: int) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def resnet(classes: int) -> nn.Module:
    body = [Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2)]
    return pooled(block(3, 16), *body, width=64, classes=classes)


def mobilenet(classes: int) -> nn.Module:
    body = [Inverted(16, 16, 1), Inverted(16, 24, 2), Inverted(24, 40, 2)]
    return pooled(block(3, 16, stride=2), *body, width=40, classes=classes)


def conv_next(classes: int) -> nn.Module:
    body = [ConvNext(32), nn.Conv2d(32, 64, 2, stride=2), ConvNext(64)]
    return pooled(nn.Conv2d(3, 32, 4, stride=4), *body, width=64, classes=classes)


GRAPHS: dict[str, Callable[[int], nn.Module]] = {
    "torch-cnn-old": cnn,
    "torch-cnn": cnn,
    "torch-resnet": resnet,
    "torch-resnet-old": resnet,
    "torch-mobilenet": mobilenet,
    "torch-conv-next": conv_next,
    "torch-vit": Transformer,
}


def trained(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """Train a net shortly and return it, ready to be asked."""
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
    return model.eval()


def export(model: nn.Module, path: Path, *, old: bool) -> None:
    """Write a net as the documentation of Hemline shows."""
    example = torch.zeros(1, 3, 32, 32)
    names = {"input_names": ["image"], "output_names": ["logits"]}
    if old:
        open_batch = {"image": {0: "batch"}, "logits": {0: "batch"}}
        torch.onnx.export(model, example, path, **names, dynamic_axes=open_batch, dynamo=False)
    else:
        batch = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(model, (example,), path, **names, dynamic_shapes=batch, dynamo=True)


def make(source: Source, folder: Path) -> None:
    """Train a source, export it and save what PyTorch gives for the test images."""
    with np.load(folder / f"images-{source.size}.npz") as images:
        x, test = (
            torch.from_numpy(RANGES[source.pixels].of(images[key]).transpose(0, 3, 1, 2).copy())
            for key in ("x_train", "x_test")
        )
        y = torch.from_numpy(images["y_train"])
    torch.manual_seed(1)
    model = trained(GRAPHS[source.name](int(y.max()) + 1), x, y)
    with torch.no_grad():
        np.save(folder / f"{source.name}.npy", torch.softmax(model(test), 1).numpy())
    export(model, source.file_in(folder), old=source.name.endswith("-old"))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        make(SOURCES[name], Path(sys.argv[1]))

"""The tables of the zoo, from results/zoo.jsonl, and what others have published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from hemline.data.datasets import DATASETS
from hemline.files import parse_json, read_bytes
from hemline.statistics import wilson
from hemline.tables import Table, as_markdown, percent

_TITLES = {"baseline": "hem-50k, earlier"}
Line = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A Fashion-MNIST classifier as its authors state it; None where they do not.

    accuracy: in float on test, percent.
    recall: of each class, percent.
    """

    name: str
    parameters: int | None = None
    accuracy: float
    size_bytes: int | None = None
    latency_us: float | None = None
    recall: tuple[float, ...] = ()


PUBLISHED = (
    Published(name="small net", parameters=20_000, accuracy=90.0),
    Published(name="small net, distilled", parameters=33_000, accuracy=92.97),
    Published(
        name="original of deep-cnn",
        accuracy=93.44,
        size_bytes=25_400_000,
        latency_us=100,
        recall=(87.5, 98.4, 91.3, 94.7, 90.7, 98.6, 80.0, 98.2, 98.8, 96.2),
    ),
    Published(name="ResNet-20, 200 epochs", parameters=272_000, accuracy=95.55),
)


def zoo_models(results: Path) -> dict[str, list[Line]]:
    """Return title to the lines of a model's seeds, the shipped one first; {} before any."""
    path, models = results / "zoo.jsonl", dict[str, list[Line]]()
    for text in read_bytes(path).splitlines() if path.is_file() else ():
        line = parse_json(text, where=path.name)
        models.setdefault(_TITLES.get(line["model"], line["model"]), []).append(line)
    return {name: sorted(each, key=lambda x: not x["timed"]) for name, each in models.items()}


def zoo_table(root: Path) -> str:
    """Return the Markdown of the models: accuracy, size, latency and instructions."""
    models = zoo_models(root / "results")
    if not models:
        return ""
    columns = ("model", ">parameters", ">float, test", ">int8, test (95 % interval)")
    columns += (">int8.tflite", ">int8.onnx", "?>time, LiteRT", "?>time, ONNX Runtime")
    columns += ("?>pi4, M instructions: LiteRT / ONNX Runtime", "?>pi5, the same")
    rows = [(name, *_figures(lines)) for name, lines in models.items()]
    rows += [_published(each) for each in PUBLISHED]
    hosts = sorted({line["host"] for lines in models.values() for line in lines})
    return (
        f"{as_markdown(Table.of(columns, rows))}\n\nTime: int8 on one core, as a multiple of the "
        "earlier hem-50k's (its design until November 2026) in the same run. pi4, pi5: millions of "
        "instructions of one inference on emulated boards, not a time. Float, of several seeds: "
        "the mean; other figures are of the weights that come with Hemline. Published: as stated "
        "by the authors. "
        f"{_trained(models)}{'; '.join(hosts)}.\n"
    )


def _trained(models: dict[str, list[Line]]) -> str:
    """Return what training for 8 bits brings where it was measured."""
    parts = []
    for name, (line, *_) in models.items():
        if "trained" in line:
            correct, images = min(each["test"] for each in line["trained"]["int8"].values())
            parts.append(f"{name} trained for 8 bits (`int8-qat`): {percent(correct / images)}. ")
    return "".join(parts)


def zoo_recall_table(root: Path) -> str:
    """Return the Markdown of the recall of each class, beside what is published."""
    models = {name: lines[0]["recall"] for name, lines in zoo_models(root / "results").items()}
    known = {each.name: each.recall for each in PUBLISHED if each.recall}
    if not models:
        return ""
    classes = DATASETS["fashion-mnist"].labels
    columns = ("class", *(f">{name}" for name in (*models, *known)))
    recalls = zip(classes, *models.values(), *known.values(), strict=True)
    rows = [(name, *(f"{share:.1f} %" for share in shares)) for name, *shares in recalls]
    return f"{as_markdown(Table.of(columns, rows))}\n"


def _figures(lines: list[Line]) -> tuple[str, ...]:
    line = lines[0]
    exact = [100 * each["float"]["test"][0] / each["float"]["test"][1] for each in lines]
    correct, images = min(each["test"] for each in line["int8"].values())
    low, high = (100 * end for end in wilson(correct, images))
    times, counts = line.get("latency", {}), line.get("instructions", {})
    return (
        f"{line['parameters']:,}",
        f"{mean(exact):.2f} %" + (f" ({len(exact)} seeds)" if len(exact) > 1 else ""),
        f"{percent(correct / images)} ({low:.2f} – {high:.2f})",
        *(f"{line['sizes'][name] / 1000:.1f} kB" for name in ("int8.tflite", "int8.onnx")),
        *(
            f"{times[name]['ratio']:.2f} × ({times[name]['median_us']:.0f} µs)" if times else ""
            for name in ("litert", "onnxruntime")
        ),
        *(
            " / ".join(f"{counts[board][name] / 1e6:.2f}" for name in ("litert", "onnxruntime"))
            if counts
            else ""
            for board in ("pi4", "pi5")
        ),
    )


def _published(each: Published) -> tuple[str, ...]:
    size = f"{each.size_bytes / 1e6:.1f} MB" if each.size_bytes else ""
    time = f"{each.latency_us:.0f} µs, its machine" if each.latency_us else ""
    count = f"{each.parameters:,}" if each.parameters else ""
    figures = (count, f"{each.accuracy:g} %", "", size, "", time, *3 * ("",))
    return (f"published: {each.name}", *figures)

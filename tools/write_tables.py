"""Write the tables of README.md and docs/ from the committed measurements in results/.

python tools/write_tables.py [--check]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from ablations_table import ablations_table
from baseline_results import read_results
from browser_table import browser_table
from calibration_tables import calibration_table, corrections_table
from causes_table import causes_table
from instruction_table import instruction_table
from profile_table import profile_table
from quantization_tables import matrix_table, peer_table
from scale_table import constants_table, scale_table
from source_table import source_tables
from training_table import training_table, widths_table
from transfer_table import transfer_table
from unknown_table import unknown_table
from zoo_table import zoo_recall_table, zoo_table

from hemline.bench.comparison import compare
from hemline.bench.devices.table import DEVICES
from hemline.bench.report.table import bundle_table, conditions_line, legend
from hemline.bench.report.verdict import recommend, summarize_choice
from hemline.contract.budget import Budget
from hemline.contract.manifest import Verdict
from hemline.contract.record import read_records
from hemline.contract.schema import from_document, load
from hemline.errors import GateError, HemlineError, UsageError
from hemline.export.schemes import SCHEMES
from hemline.export.verdict_table import verdict_tables
from hemline.files import parse_json, read_bytes, write_bytes
from hemline.tables import CHANGE, Table, as_markdown, change, percent
from hemline.train.baselines.result import conditions_lines, results_table
from hemline.train.comparison import table
from hemline.train.comparison.comparison import DatasetComparison

_MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def update(root: Path, *, check: bool) -> None:
    """Rewrite each marked table of README.md and of the pages in docs/, below `root`.

    Raises UsageError outside a checkout, GateError when `check` finds a table out of date.
    """
    readme = root / "README.md"
    if not readme.is_file() or not (root / "results").is_dir():
        raise UsageError(f"{root} has no README.md and results/: run this in a checkout of Hemline")
    for page in (readme, *sorted((root / "docs").glob("*.md"))):
        before = read_bytes(page).decode()
        after = _MARK.sub(lambda found: found[1] + render(root, found[2]) + found[3], before)
        if check and after != before:
            raise GateError(f"{page.name} differs from results/: run `make tables`")
        if after != before:
            write_bytes(page, after.encode())


def render(root: Path, name: str) -> str:
    """Return the Markdown of one table by name; raises UsageError for an unknown one."""
    makers: dict[str, Callable[[Path], str]] = {
        "artifacts": _artifacts,
        "baselines": _baselines,
        "models": _models,
        "datasets": _datasets,
        "performance": _performance,
        "measurement": lambda root: _performance(root, "results/bench/measurement.jsonl"),
        "gate": lambda root: _performance(root, "results/bench/gate.jsonl"),
        "runtimes": _verdicts,
        "devices": _devices,
        "instructions": _instructions,
        "browser": browser_table,
        "photographs": _photographs,
        "schemes": _schemes,
        "planted-damage": _planted_damage,
        "sources": source_tables,
        "peers": peer_table,
        "matrix": matrix_table,
        "training": training_table,
        "widths": widths_table,
        "calibration": calibration_table,
        "corrections": corrections_table,
        "profile": profile_table,
        "causes": causes_table,
        "unknown": unknown_table,
        "zoo": zoo_table,
        "zoo-recall": zoo_recall_table,
        "scale": scale_table,
        "scale-constants": constants_table,
        "ablations": ablations_table,
        "transfer": transfer_table,
    }
    if name not in makers:
        raise UsageError(f"a page asks for a table {name!r}: there are {', '.join(makers)}")
    return makers[name](root)


def _artifacts(root: Path) -> str:
    comparison = compare(read_records(root / "results" / "hem-50k" / "records.jsonl"))
    headline, *others = summarize_choice(comparison, recommend(comparison, Budget()))
    rows = bundle_table(comparison)
    explained = "".join(f"{line[0].upper()}{line[1:]}. " for line in legend(rows))
    return (
        f"**{headline}** {' '.join(others)}\n\n"
        f"{as_markdown(rows)}\n\n{explained}{conditions_line(comparison)}.\n"
    )


def _datasets(root: Path) -> str:
    found = load(DatasetComparison, root / "results" / "datasets.json")
    said = (*table.finding_lines(found), *table.conditions_lines(found))
    lines = "\n".join(f"- {line}" for line in said)
    return f"{as_markdown(table.comparison_table(found))}\n\n{lines}\n"


def _models(root: Path) -> str:
    """Return a line for each model: what it is, what its training took, how well it does."""
    where = "results/models.jsonl"
    lines = [
        "| model | parameters | MACs | recipe | epochs | minutes | float, test | int8, test |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    models = [parse_json(line, where=where) for line in read_bytes(root / where).splitlines()]
    for model in models:
        runs = model["runs"]
        files = {artifact["name"]: artifact["verdicts"] for artifact in model["artifacts"]}
        int8 = [
            verdict["test"] for verdict in files["int8.tflite"] if verdict["status"] == "passed"
        ]
        lines.append(
            f"| {model['model']} | {model['parameters']:,} | {model['macs'] / 1e6:.2f} M "
            f"| {model['recipe']} | {_span([run['epochs'] for run in runs], '.0f')} "
            f"| {_span([run['seconds'] / 60 for run in runs], '.0f')} "
            f"| {_accuracies([run['test'] for run in runs])} | {_accuracies(int8[:1])} |"
        )
    return "\n".join(lines) + (
        "\n\nMean of the seeds (least – most); int8.tflite of seed 1 in the first runtime that "
        f"runs it. {'; '.join(sorted({model['host'] for model in models}))}; on a busy machine.\n"
    )


def _span(values: list[float], form: str) -> str:
    least, most = format(min(values), form), format(max(values), form)
    return least if least == most else f"{least} – {most}"


def _accuracies(scores: list[list[int]]) -> str:
    """Return the mean of (right, of) pairs in percent, and their span."""
    shares = [100 * right / images for right, images in scores]
    mean = f"{sum(shares) / len(shares):.2f} %"
    if len(shares) == 1:
        return mean
    return f"{mean} ({min(shares):.2f} – {max(shares):.2f}, {len(shares)} seeds)"


def _baselines(root: Path) -> str:
    results = read_results(root / "results" / "baselines.jsonl")
    lines = "\n".join(f"- {line}" for line in conditions_lines(results))
    return f"{as_markdown(results_table(results))}\n\n{lines}\n"


def _performance(root: Path, where: str = "results/performance.jsonl") -> str:
    """Return a table for each host: a figure is worth nothing without it."""
    results = [parse_json(line, where=where) for line in read_bytes(root / where).splitlines()]
    hosts: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        host = f"{result['processor']}, {result['cores']} cores"
        hosts.setdefault(host, []).append(result)
    return "\n".join(_performance_of(host, hosts[host]) for host in sorted(hosts))


def _planted_damage(root: Path) -> str:
    """Return a row for each damage that was done to a trained model."""
    where = "results/quantization/planted-damage.jsonl"
    lines = [parse_json(line, where=where) for line in read_bytes(root / where).splitlines()]
    columns = ("damage", "model", ">float", f">{CHANGE}", "`hemline diagnose`", ">repaired")
    rows = [
        (
            line["damage"],
            line["model"],
            percent(line["float_accuracy"]),
            change(line["loss_points"]),
            f"{line['layer']}: " * (line["layer"] is not None)
            + f"{line['finding']}; {line['repair']}",
            "" if line["left_points"] is None else change(line["left_points"]),
        )
        for line in lines
    ]
    return f"{as_markdown(Table.of(columns, rows))}\n"


def _photographs(root: Path) -> str:
    """Return a line for each background that photographs were made on, newest measurement first."""
    where = "results/performance.jsonl"
    lines = ["| background | `stretch` | `product-photo` |", "| --- | ---: | ---: |"]
    newest: dict[str, dict[str, Any]] = {}
    for line in read_bytes(root / where).splitlines():
        result = parse_json(line, where=where)
        if (found := re.match(r"photographs on (.*): more", result["claim"])) is not None:
            newest[found[1]] = result
    details = set()
    for background, result in newest.items():
        stretch, unconverted = result["detail"].removeprefix("by stretch ").split(", unconverted ")
        details.add(unconverted)
        lines.append(f"| {background} | {stretch} | {result['value']:.1f} % |")
    return (
        "\n".join(lines) + f"\n\nWithout a photograph in between: {'; '.join(sorted(details))}.\n"
    )


def _performance_of(host: str, results: list[dict[str, Any]]) -> str:
    days = sorted({result["date"][:10] for result in results})
    lines = [f"On {host}, {' to '.join(dict.fromkeys((days[0], days[-1])))}:", ""]
    lines += ["| claim | measured | |", "| --- | ---: | --- |"]
    for result in results:
        state = "met" if result["met"] else "**missed**"
        figure = f"{result['value']:.2f} {result['unit']}".strip()
        lines.append(f"| {result['claim']} | {figure} ({result['detail']}) | {state} |")
    return "\n".join(lines) + "\n"


def _verdicts(root: Path) -> str:
    where = "results/hem-50k/runtimes.jsonl"
    documents = [parse_json(line, where=where) for line in read_bytes(root / where).splitlines()]
    judged = [
        (document.pop("artifact"), from_document(Verdict, document, where=where))
        for document in documents
    ]
    tables = [as_markdown(_versions_together(table)) for table in verdict_tables(judged)]
    counts = {score.images for _, verdict in judged for score in verdict.scores}
    return "\n\n".join(tables) + (
        f"\n\n{len({(v.runtime, v.version) for _, v in judged})} versions, {len(judged)} verdicts, "
        f"each on up to {max(counts):,} images.\n"
    )


def _versions_together(table: Table) -> Table:
    """Return a table with one row for consecutive versions of a runtime with equal results."""
    rows = [
        (runtime, *(", ".join(dict.fromkeys(each)) for each in about), *accuracies)
        for (runtime, accuracies), group in groupby(
            table.rows, key=lambda row: (row[0].split()[0], row[3:])
        )
        for about in [zip(*((row[0].split()[1], *row[1:3]) for row in group), strict=True)]
    ]
    return Table(
        columns=(table.columns[0], "versions", *table.columns[1:]),
        numeric=(False, *table.numeric),
        rows=tuple(rows),
    )


def _schemes(root: Path) -> str:
    """Return a row for each row of SCHEMES: what its file holds, and the file of hem-50k."""
    where = "results/quantization/schemes.jsonl"
    measured = [parse_json(line, where=where) for line in read_bytes(root / where).splitlines()]
    found = {each["artifact"]: each for each in measured}
    images = max(cell["images"] for each in measured for cell in each.get("cells", {}).values())
    table = Table.of(
        ("file", "holds", ">kB", ">by deflate", ">accuracy", ">time ÷ fp32"),
        (
            (
                f"`{name}`{'' if row.default else ' ·'}",
                row.summary,
                *_worth(found.get(name, {}), images),
            )
            for name, row in SCHEMES.items()
        ),
    )
    hosts = "; ".join(sorted({each["host"] for each in measured}))
    versions = sorted(
        {f"{n} {cell['version']}" for each in measured for n, cell in each.get("cells", {}).items()}
    )
    return (
        f"{as_markdown(table)}\n\n· made only when it is named. {', '.join(versions)}; {hosts}; "
        "one thread, batch 1, on a busy machine.\n"
    )


def _worth(result: dict[str, Any], images: int) -> tuple[str, ...]:
    """Return sizes, accuracy and latency against the float file, runtime by runtime.

    An accuracy on fewer than all images says so.
    """
    if "cells" not in result:
        return ("left out", "", "", "")
    cells = result["cells"].values()
    shares = [
        percent(each["correct"] / each["images"])
        + ("" if each["images"] == images else f" of {each['images']:,}")
        for each in cells
    ]
    ratios = [f"{each['latency_to_fp32']:.2f}" for each in cells]
    sizes = (f"{result[name] / 1000:.1f}" for name in ("size_bytes", "compressed_bytes"))
    return (*sizes, " / ".join(dict.fromkeys(shares)), " / ".join(ratios))


def _devices(root: Path) -> str:
    del root
    figures = ("latencies", "instructions", "arena")
    rows = [
        (
            f"`{kind.name}`",
            kind.summary,
            *("yes" if getattr(kind.capabilities, figure) else "" for figure in figures),
        )
        for kind in DEVICES.values()
    ]
    return f"{as_markdown(Table.of(('device', 'what it is', *figures), rows))}\n"


def _instructions(root: Path) -> str:
    records = read_records(root / "results" / "hem-50k" / "instructions.jsonl")
    return f"{as_markdown(instruction_table(records))}\n"


def main(arguments: list[str]) -> int:
    """Write the tables of this checkout, or only check them with --check."""
    try:
        update(Path(__file__).resolve().parents[1], check="--check" in arguments)
    except HemlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

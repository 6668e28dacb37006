"""A profile in text: a table of operators, delegates, and what explains the time."""

from __future__ import annotations

from collections.abc import Iterator

from hemline.contract.profile import Intervention, OperatorCost, Probe, Profile
from hemline.contract.record import Cell, Record
from hemline.tables import Table, as_text

_LEAST_NS = 500  # of an operator whose rates are shown
_BAR = 16  # characters of a share of 1
_LONGEST_NAME = 28
_NAMED, _SHARE = (">#", "operator", "kind"), (">share", " ")


def profile_text(record: Record) -> str:
    """Return the profile of a record in lines."""
    profile = record.payload
    if not isinstance(profile, Profile):
        raise TypeError(f"not a profile: {profile.KIND}")
    parts = (as_text(operator_table(profile)), *notes(profile))
    return "\n".join((heading(record.cell, profile), *parts))


def operator_table(profile: Profile) -> Table:
    """Return a row for each operator: its time and rates, or its instructions."""
    return _times(profile) if profile.whole_ns else _counts(profile)


def heading(cell: Cell, profile: Profile) -> str:
    """Return what was profiled, and the whole in one figure."""
    threads = f"{cell.threads} thread{'s'[: cell.threads - 1]}"
    settings = ", ".join(filter(None, (threads, cell.settings.text)))
    where = f"{cell.artifact} in {cell.runtime} {cell.runtime_version} on {cell.device}, {settings}"
    if profile.whole_ns is None:
        return f"{where}: {(profile.whole_instructions or 0) / 1e3:.0f} thousand instructions"
    explained = (
        "" if profile.explained is None else f"; operators add up to {_percent(profile.explained)}"
    )
    return f"{where}: {profile.whole_ns / 1e3:.1f} µs{explained}"


def _times(profile: Profile) -> Table:
    total = sum(each.ns or 0 for each in profile.operators) or 1
    return Table.of(
        (*_NAMED, ">µs", *_SHARE, ">MMAC", ">GMAC/s", ">of peak", ">GB/s", "runs on"),
        (
            (
                *_named(number, each),
                f"{(each.ns or 0) / 1e3:.1f}",
                *_share((each.ns or 0) / total),
                *_rates(each, profile.probe),
                each.runs_on,
            )
            for number, each in enumerate(profile.operators, 1)
        ),
    )


def _rates(operator: OperatorCost, probe: Probe | None) -> tuple[str, str, str, str]:
    """Return what was computed, its rate, its share of what the probe reached, and bytes read."""
    ns = operator.ns or 0
    if ns < _LEAST_NS:
        return ("", "", "", "")  # what was left out for the invocation decides
    rate = operator.gmacs
    if rate is None:
        return ("", "", "", f"{operator.bytes / ns:.1f}")
    peak = None if probe is None else probe.peak_of(operator.dtype)
    of_peak = _percent(rate / peak) if peak else ""
    return f"{operator.macs / 1e6:.2f}", f"{rate:.1f}", of_peak, f"{operator.bytes / ns:.1f}"


def _counts(profile: Profile) -> Table:
    counts = [each.instructions or 0 for each in profile.operators]
    return Table.of(
        (*_NAMED, ">thousands", *_SHARE, ">MMAC", ">instructions/MAC", "runs on"),
        (
            (
                *_named(number, each),
                f"{count / 1e3:.0f}",
                *_share(count / (sum(counts) or 1)),
                f"{each.macs / 1e6:.2f}" if each.macs else "",
                f"{count / each.macs:.2f}" if each.macs else "",
                each.runs_on,
            )
            for number, (each, count) in enumerate(zip(profile.operators, counts, strict=True), 1)
        ),
    )


def _named(number: int, operator: OperatorCost) -> tuple[str, str, str]:
    return str(number), _short(operator.name), operator.kind


def _share(share: float) -> tuple[str, str]:
    return _percent(share), "█" * round(_BAR * share)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _short(name: str) -> str:
    """Return the end of a name: converters join the names of all that they fused."""
    last = name.rpartition(";")[2]
    return last if len(last) <= _LONGEST_NAME else f"…{last[1 - _LONGEST_NAME :]}"


def notes(profile: Profile) -> Iterator[str]:
    """Yield what is said of a profile besides its operators, the findings last."""
    yield from observations(profile)
    for each in profile.findings:
        yield f"{'because' if each.proven else 'observed'}: {each.sentence}"
        if each.remedy:
            yield f"  {each.remedy}"


def observations(profile: Profile) -> Iterator[str]:
    """Yield the probe, the delegates, the optimized graph and what was tried."""
    probe = profile.probe
    if probe is not None:
        reached = (
            (probe.float_gmacs, "GMAC/s in float32"),
            (probe.int8_gmacs, "GMAC/s in int8"),
            (probe.gigabytes, "GB/s"),
        )
        peaks = "".join(f", {value:.0f} {unit}" for value, unit in reached if value is not None)
        yield (
            f"probe: {probe.fixed_ns / 1000:.1f} µs for an invocation that computes nothing{peaks}"
        )
    for number, partition in enumerate(profile.partitions, start=1):
        yield f"delegate {number}: {_ranges(partition)}"
    if profile.fusion:
        nodes = ", ".join(f"{count} {kind}" for kind, count in profile.fusion.items())
        yield f"optimized graph: {nodes}"
    for tried in profile.interventions:
        named = any(tried.name in each.sentence for each in profile.findings)
        refuted = tried.changed and not named
        yield _intervention_text(tried) + "; this does not explain the time" * refuted


def _ranges(numbers: tuple[int, ...]) -> str:
    """Return operators by their place in the table, from 1: "operators 1-3, 5"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number:
            spans[-1][1] = number + 1
        else:
            spans.append([number + 1, number + 1])
    parts = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)
    return f"operator{'s'[: len(numbers) - 1]} {parts}"


def _intervention_text(tried: Intervention) -> str:
    changed = "" if tried.changed else " (not more than the noise)"
    return (
        f"tried: {tried.name}: {tried.before_ns / 1e3:.1f} to {tried.after_ns / 1e3:.1f} µs, "
        f"×{tried.ratio:.2f} ({tried.low:.2f} … {tried.high:.2f}){changed}"
    )

"""A comparison in its three forms: Markdown of at most 80 columns, JSON for programs, JUnit for CI."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from qaprune.report.findings import (
    CHANGED,
    FINE,
    REGRESSION,
    SPEED_LEVEL,
    UNCLEAR,
    Comparison,
    Finding,
    Gap,
    Tolerances,
)
from qaprune.report.intervals import LEVEL
from qaprune.report.tables import WIDTH, cut, markdown_table, number

JSON_VERSION = 1
OUTCOMES = {0: "no regression", 3: "regression", 4: "not comparable"}
UNITS = {
    "f1": ("F1", 2, ""),
    "latency_ms": ("latency", 2, " ms"),
    "throughput_qps": ("throughput", 1, " questions/s"),
    "speedup_same": ("speedup", 2, "x"),
    "energy_j": ("energy", 4, " J/question"),
    "peak_memory_mb": ("peak memory", 1, " MiB"),
}
"""measure -> its name, decimals and unit for readers; the others are exact and shown as they are."""
CHANGE_OF = {"throughput_qps": "time a question ", "speedup_same": "time against the teacher's "}


def markdown(found: Comparison, names: tuple[str, str], tolerances: Tolerances) -> str:
    """Regressions first, then what is missing, what changed, a table a run. `names`: folders A and B."""
    parts = [f"# Comparison: {OUTCOMES[found.exit_code]}\n", _items(_summary(found, names, tolerances))]
    for title, verdict in (("Regressions", REGRESSION), ("Changed, within tolerance", CHANGED)):
        if found.having(verdict):
            parts.append(f"## {title}\n\n" + _items(_by_row(found.having(verdict))))
        if verdict == REGRESSION and found.gaps:
            parts.append("## Not compared\n\n" + _items(_gap_lines(found.gaps)))
    for run in dict.fromkeys(finding.run for finding in found.findings):
        parts.append(_run_section(run, [finding for finding in found.findings if finding.run == run]))
    return "\n".join(parts)


def _summary(found: Comparison, names: tuple[str, str], tolerances: Tolerances) -> list[str]:
    """What was compared, with which tolerances, and how it ended."""
    counts = [
        f"{len(found.having(verdict))} {words}"
        for verdict, words in ((REGRESSION, "regressions"), (CHANGED, "changed"), (FINE, "fine"))
    ]
    lines = [
        f"A, the baseline: {names[0]}",
        f"B, the new one: {names[1]}",
        _tolerance_line(found, tolerances),
    ]
    lines.append(f"{len(found.findings)} figures: {', '.join(counts)}")
    unclear = found.having(UNCLEAR)
    if unclear:
        lines[-1] += f", {len(unclear)} too noisy to tell"
        lines.append(
            f"too noisy to tell: the intervals of {_per_measure(unclear)} hold the tolerance; only "
            "more timed rounds, or a quieter machine, can rule a slowdown out"
        )
    return lines


def _tolerance_line(found: Comparison, tolerances: Tolerances) -> str:
    """The tolerances that were applied; those of speed are known only where speed was compared."""
    parts = [f"F1 drop {tolerances.f1_drop:g} points"]
    for measure, words in (
        ("latency_ms", "slowdown"),
        ("energy_j", "energy"),
        ("peak_memory_mb", "memory"),
    ):
        used = sorted(
            {f.tolerance for f in found.findings if f.measure == measure and f.tolerance is not None}
        )
        if used:
            parts.append(f"{words} {' or '.join(f'{value:g}' for value in used)} %")
    return "tolerances: " + ", ".join(parts) + "; parameters and FLOPs must not grow"


def _per_measure(findings: list[Finding]) -> str:
    """`3 latencies` as `latency_ms 3`, by measure."""
    measures = [finding.measure for finding in findings]
    return ", ".join(f"{UNITS[name][0]} ({measures.count(name)})" for name in dict.fromkeys(measures))


def _items(lines: Any) -> str:
    """A Markdown list, wrapped."""
    return (
        "\n".join(
            textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
            for line in lines
        )
        + "\n"
    )


def _by_row(findings: list[Finding]) -> list[str]:
    """One line a variant and cell, with all its figures."""
    rows: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        rows.setdefault((finding.run, finding.variant, finding.cell), []).append(finding)
    return [
        f"**{run}, {variant}**{f' ({cell})' if cell else ''}: {'; '.join(_figure(f) for f in group)}"
        for (run, variant, cell), group in rows.items()
    ]


def _figure(finding: Finding) -> str:
    """`latency 10.58 -> 12.71 ms (+20.1 %, 95 % +18.0 to +22.3)`."""
    name, decimals, unit = UNITS.get(finding.measure, (finding.measure, None, ""))
    before, after = (
        f"{value:,.10g}" if decimals is None else f"{value:.{decimals}f}"
        for value in (finding.baseline, finding.new)
    )
    of, places = (" points", 2) if finding.measure == "f1" else (" %", 1)
    change = CHANGE_OF.get(finding.measure, "") + (
        f"{finding.change:+.{places}f}{of}" if math.isfinite(finding.change) else "from nothing"
    )
    if finding.low is not None:
        level = LEVEL if finding.measure == "f1" else SPEED_LEVEL
        change += f", {level:g} % {finding.low:+.{places}f} to {finding.high:+.{places}f}"
    return f"{name} {before} -> {after}{unit} ({change})" + (f", {finding.note}" if finding.note else "")


def _gap_lines(gaps: list[Gap]) -> list[str]:
    """One line a reason, with all runs that it holds for; what the baseline guards first."""
    runs: dict[tuple[bool, str, str], list[str]] = {}
    for gap in sorted(gaps, key=lambda gap: not gap.lost):
        runs.setdefault((gap.lost, gap.what, gap.why), []).append(gap.run)
    return [f"{what}: {why} (**{', '.join(names)}**)" for (_, what, why), names in runs.items()]


def _run_section(run: str, findings: list[Finding]) -> str:
    """The tables of one run; the single masks of random points are left to the JSON."""
    shown = [finding for finding in findings if "#" not in finding.variant]
    by_row: dict[str, dict[str, Finding]] = {}
    cells = [finding.cell for finding in shown if finding.measure == "latency_ms"]
    for finding in shown:
        if finding.cell in ("", *cells[:1]) or not cells:
            by_row.setdefault(finding.variant, {})[finding.measure] = finding
    parts = [f"## {run}\n", _main_table(by_row)]
    if any("energy_j" in row or "peak_memory_mb" in row for row in by_row.values()):
        parts.append(_device_table(by_row))
    legend = "F1 of B and its gain in points."
    if cells:
        legend += (
            f" time, low: change of the latency at {cells[0]} in per cent, and the lower end of its "
            f"{SPEED_LEVEL:g} % interval; share: change of its share of the teacher's latency."
        )
    others = len(set(cells)) - 1
    if others > 0:
        legend += f" {others} more cells: in the JSON."
    parts.append(textwrap.fill(legend, WIDTH, break_on_hyphens=False) + "\n")
    return "\n".join(parts)


def _main_table(by_row: dict[str, dict[str, Finding]]) -> str:
    body = []
    for variant, row in by_row.items():
        f1, latency, share = (row.get(name) for name in ("f1", "latency_ms", "speedup_same"))
        body.append(
            [
                cut(variant, 28),
                number(f1 and f1.new, 2),
                number(f1 and f1.change, 2, "+"),
                number(latency and latency.change, 1, "+"),
                number(latency and latency.low, 1, "+"),
                number(share and share.change, 1, "+"),
            ]
        )
    return markdown_table(["variant", "F1", "gain", "time %", "low %", "share %"], body)


def _device_table(by_row: dict[str, dict[str, Finding]]) -> str:
    body = []
    for variant, row in by_row.items():
        cells = [cut(variant, 28)]
        for name, decimals in (("energy_j", 4), ("peak_memory_mb", 1)):
            finding = row.get(name)
            cells += [number(finding and finding.new, decimals), number(finding and finding.change, 1, "+")]
        body.append(cells)
    return markdown_table(["variant", "J/question", "%", "MiB", "%"], body)


def json_text(found: Comparison, names: tuple[str, str], tolerances: Tolerances) -> str:
    """Everything, for programs; a change from nothing, which has no per cent, is null."""
    findings = [
        {name: None if value in (math.inf, -math.inf) else value for name, value in asdict(finding).items()}
        for finding in found.findings
    ]
    record = {
        "schema_version": JSON_VERSION,
        "outcome": OUTCOMES[found.exit_code],
        "exit_code": found.exit_code,
        "baseline": names[0],
        "new": names[1],
        "tolerances": asdict(tolerances),
        "findings": findings,
        "not_compared": [asdict(gap) for gap in found.gaps],
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def junit(found: Comparison) -> str:
    """One suite a run, one case a figure: a regression fails, what was not compared is skipped."""
    root = ElementTree.Element("testsuites", name="qaprune compare")
    for run in dict.fromkeys(entry.run for entry in (*found.findings, *found.gaps)):
        suite = ElementTree.SubElement(root, "testsuite", name=run)
        for finding in (finding for finding in found.findings if finding.run == run):
            name = f"{finding.measure} ({finding.cell})" if finding.cell else finding.measure
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{run}.{finding.variant}", name=name
            )
            if finding.verdict == REGRESSION:
                ElementTree.SubElement(case, "failure", message=_figure(finding), type=REGRESSION)
        for gap in (gap for gap in found.gaps if gap.run == run):
            case = ElementTree.SubElement(suite, "testcase", classname=run, name=gap.what)
            ElementTree.SubElement(case, "skipped", message=gap.why)
        _count(suite)
    _count(root)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _count(element: ElementTree.Element) -> None:
    """The totals that JUnit readers expect on suites."""
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))

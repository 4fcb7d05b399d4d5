"""The results table of a report as records, CSV and LaTeX."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from serctl.documents.report import Report, SystemSummary
from serctl.evaluation.markdown import markdown_table
from serctl.evaluation.published import PublishedPair, compare_note
from serctl.names import guard_cell

Record = dict[str, str | float | None]
PAPER = tuple(
    f"paper_{name}"
    for name in (
        *("macro_f1", "accuracy", "bs_f1", "bs_f1_min", "bs_f1_max"),
        *("test_macro_f1", "test_accuracy"),
    )
)
RANGE_NOTE = "BS-F1: mean and range of balanced subsets. The range is not a confidence interval"
LATEX_COLUMNS = {"macro_f1": "F1", "uar": "UAR", "accuracy": "Acc.", "bs_f1": "BS-F1"}


def make_records(report: Report, published: Sequence[PublishedPair] = ()) -> list[Record]:
    """Return one flat record per system; on MSP-Podcast also the paper's rows and metrics."""
    records = [_record(system) for system in report.systems]
    by_name = {record["system"]: record for record in records}
    for row in published:
        record = by_name.get(row.system.name) if row.system else None
        if record is None:
            record = dict.fromkeys(records[0]) | {"system": _title(row), "kind": "published"}
            records.append(record)
        record |= dict(zip(PAPER, row.published.dev + row.published.test, strict=True))
    return records


def to_csv(records: Sequence[Record]) -> str:
    """Return the records as CSV. A missing metric is an empty field."""
    text = io.StringIO()
    columns = dict.fromkeys(name for record in records for name in record)
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: guard_cell(value) for name, value in row.items()} for row in records)
    return text.getvalue()


def to_markdown_published(published: Sequence[PublishedPair]) -> str:
    """Return the paper's metrics and those of this report as a Markdown table; '' without any."""
    if not published:
        return ""
    pairs = (("macro_f1", 0), ("accuracy", 1), ("bs_f1", 2))
    rows = []
    for row in published:
        ours = _record(row.system) if row.system else {}
        cells = [_title(row), str(ours.get("system", "quoted" if row.published.is_quoted else "–"))]
        for name, i in pairs:
            cells += [_shown(row.published.dev[i]), _shown(ours.get(name))]
        rows.append(cells)
    header = ("Table 2", "here", "F1 paper", "F1", "acc. paper", "acc.", "BS-F1 paper", "BS-F1")
    return f"\n## Comparison with the paper\n\n{compare_note(published)}\n\n" + "\n".join(
        [*markdown_table(header, rows), ""]
    )


def to_latex(title: str, records: Sequence[Record]) -> str:
    """Return the records as a `booktabs` table, the best value of each column in bold.

    The caption says that the range of BS-F1 is not a confidence interval.
    """
    columns = dict(LATEX_COLUMNS)
    if any("paper_bs_f1" in record for record in records):
        columns |= {"paper_macro_f1": "F1 (paper)", "paper_bs_f1": "BS-F1 (paper)"}
    best = {
        name: max((record[name] for record in records if record.get(name)), default=None)  # type: ignore[type-var]
        for name in columns
    }
    lines = [
        r"\begin{table}",
        rf"\caption{{{escape_latex(f'{title}. {RANGE_NOTE}')}.}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        rf"System & {' & '.join(columns.values())} \\",
        r"\midrule",
    ]
    for record in records:
        cells = [_latex_cell(record, name, best[name]) for name in columns]
        lines.append(rf"{escape_latex(str(record['system']))} & {' & '.join(cells)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escape_latex(text: str) -> str:
    r"""Return text with the special characters of LaTeX escaped.

    Example:
        >>> escape_latex("a_b & 5%")
        'a\\_b \\& 5\\%'
    """
    signs = {sign: f"\\{sign}" for sign in "&%$#_{}"}
    signs |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(sign, sign) for sign in text)


def _record(system: SystemSummary) -> Record:
    low, high = system.intervals.macro_f1 if system.intervals else (None, None)
    subset = system.bs_f1
    return {
        "system": system.name,
        "kind": system.kind,
        "macro_f1": system.macro_f1,
        "macro_f1_low": low,
        "macro_f1_high": high,
        "uar": system.uar,
        "accuracy": system.accuracy,
        "bs_f1": subset.mean,
        "bs_f1_min": subset.min,
        "bs_f1_max": subset.max,
    }


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "–"


def _title(row: PublishedPair) -> str:
    return f"{row.published.title} ({row.published.loss})" if row.published.loss else "Stacking"


def _latex_cell(record: Record, name: str, best: Any) -> str:
    value = record.get(name)
    if not isinstance(value, float):
        return "--"
    low, high = record.get(f"{name}_min"), record.get(f"{name}_max")
    text = f"{value:.3f}"
    text = rf"\textbf{{{text}}}" if value == best else text
    return f"{text} [{low:.3f}, {high:.3f}]" if isinstance(low, float) else text

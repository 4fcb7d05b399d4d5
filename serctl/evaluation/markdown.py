"""A report as Markdown."""

from collections.abc import Sequence

from serctl.documents.report import GroupScore, Report, SystemSummary

TABLE_COLUMNS = ("system", "macro-F1", "95 % interval", "UAR", "accuracy", "BS-F1", "BS-F1 range")


def table_row(system: SystemSummary) -> list[str]:
    """Return the metrics of one system under `TABLE_COLUMNS`; '' for a missing interval."""
    subset = system.bs_f1
    return [
        system.name,
        f"{system.macro_f1:.3f}",
        "[{:.3f}, {:.3f}]".format(*system.intervals.macro_f1) if system.intervals else "",
        f"{system.uar:.3f}",
        f"{system.accuracy:.3f}",
        f"{subset.mean:.3f}",
        f"[{subset.min:.3f}, {subset.max:.3f}]",
    ]


def to_markdown(report: Report) -> str:
    """Return the report with its warnings, table, tests, and each system's classes."""
    parts = [f"# {report.title}", ""]
    parts += [f"> **{text}**" for text in report.warnings]
    parts += [f"- {text}" for text in report.notes]
    table = [TABLE_COLUMNS, *(table_row(system) for system in report.systems)]
    if not report.has_intervals:
        at = TABLE_COLUMNS.index("95 % interval")
        table = [(*row[:at], *row[at + 1 :]) for row in table]
    parts += ["", *markdown_table(table[0], table[1:]), ""]
    if report.paired:
        parts += ["## Significance tests", ""]
        parts += [f"- {verdict}" for verdict in dict.fromkeys(p.verdict for p in report.paired)]
    metrics = ("precision", "recall", "f1")
    for system in report.systems:
        parts += ["", f"## {_escape(system.name)}", ""]
        parts += markdown_table(
            ("class", "precision", "recall", "F1", "support"),
            [
                [row.label, *(f"{getattr(row, x):.3f}" for x in metrics), str(row.support)]
                for row in system.per_class
            ],
        )
        parts += ["", f"Expected calibration error {system.calibration.ece:.3f}.", ""]
        parts += markdown_table(
            ("true ＼ predicted", *report.labels),
            [
                [label, *map(str, row)]
                for label, row in zip(report.labels, system.confusion, strict=True)
            ],
        )
        for by in ("gender", "duration"):
            rows = system.groups.get(by, ())
            if rows:
                parts += ["", *_group_table(by, rows)]
        if system.ccc:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in system.ccc.items())
            parts += ["", f"Concordance (CCC): {shown}."]
    return "\n".join(parts) + "\n"


def _group_table(by: str, rows: Sequence[GroupScore]) -> list[str]:
    metrics = ("macro_f1", "uar", "accuracy")
    return markdown_table(
        (by, "utterances", "macro-F1", "UAR", "accuracy"),
        [[row.name, str(row.count), *(f"{getattr(row, x):.3f}" for x in metrics)] for row in rows],
    )


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table: a name, then numbers."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return [f"| {' | '.join(map(_escape, row))} |" for row in (columns, rule, *rows)]


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")

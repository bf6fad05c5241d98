"""What a check-up found, for a terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from understudy.doctor.finding import Finding, Severity

STYLES = {Severity.OK: "green", Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}


def findings_table(findings: Sequence[Finding]) -> Table:
    """A line for each finding, in the order given."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("")
    for column in ("found", "evidence", "fix"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        severity = Text(finding.severity.name.lower(), style=STYLES[finding.severity])
        # As text: names of classes and settings may hold what looks like markup.
        table.add_row(severity, *map(Text, (finding.what, finding.evidence, finding.fix)))
    return table


def diagnosis(findings: Sequence[Finding]) -> str:
    """How many findings of each kind, in one line."""
    counts = {severity: sum(found.severity == severity for found in findings) for severity in reversed(Severity)}
    words = [_counted(severity, count) for severity, count in counts.items() if count]
    return ", ".join(words) or "nothing to look at"


def _counted(severity: Severity, count: int) -> str:
    word = severity.name.lower()
    return f"{count} {word}" + ("s" if count != 1 and severity != Severity.OK else "")

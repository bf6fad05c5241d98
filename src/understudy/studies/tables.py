"""A study as tables for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from understudy.experiments.tables import count_text
from understudy.studies.planned import Planned
from understudy.studies.pooled import NOTE, QUANTITIES, PooledRows
from understudy.studies.summary import Summary

SIGNIFICANT = 0.05


def plan_table(runs: Sequence[Planned]) -> Table:
    """All runs in order, and how far they are."""
    table = _table("run", "state", "taught by", "directory")
    for planned in runs:
        state = "to do"
        if planned.directory.finished():
            state = "finished"
        elif planned.directory.config.exists():
            state = "begun"
        methods = " + ".join(str(method["name"]) for method in planned.settings.method)
        table.add_row(planned.name, state, methods or "labels alone", str(planned.directory.path))
    return table


def arms_table(summary: Summary) -> Table:
    """The test accuracy of each arm, with the teachers'."""
    table = _table("", "test accuracy", "95 % interval", "runs", "parameters", "MACs")
    teachers = [arm["teacher_result"] for arm in summary["arms"] if arm["teacher_result"]]
    for teacher in {each["name"]: each for each in teachers}.values():
        accuracy = f"{teacher['test']['accuracy']:.2%}"
        table.add_row(f"teacher {teacher['name']}", accuracy, "", "", *_cost(teacher["cost"]))
    for arm in summary["arms"]:
        found = arm["test"].get("accuracy")
        if found:
            spread = "" if found["std"] is None else f" ± {found['std']:.2%}"
            interval = "" if found["low"] is None else f"{found['low']:.2%} to {found['high']:.2%}"
            table.add_row(arm["name"], f"{found['mean']:.2%}{spread}", interval, str(found["n"]), *_cost(arm["cost"]))
    table.caption = f"mean ± standard deviation over runs; {summary['student']} on {summary['data']}"
    return table


def comparisons_table(summary: Summary) -> Table:
    """Each arm against its baseline, in points of test accuracy."""
    found = summary["comparisons"]
    several = len(found) > 1
    adjusted = ["p (Holm)"] if several else []
    table = _table("", "points", "95 % interval", "p (t)", *adjusted, "p (sign)", "won lost tied", "images", "seeds")
    for each in found:
        table.add_row(
            f"{each['arm']} - {each['against']}",
            f"{each['mean'] * 100:+.2f}",
            "" if each["low"] is None else f"{each['low'] * 100:+.2f} to {each['high'] * 100:+.2f}",
            _p_text(each["p_t"]),
            *([_p_text(each["p_holm"])] if several else []),
            _p_text(each["p_sign"]),
            f"{each['wins']} {each['losses']} {each['ties']}",
            f"+{each['mcnemar']['better']} -{each['mcnemar']['worse']} (p {each['mcnemar']['p']:.2g})",
            _seeds(each),
        )
    table.caption = (
        f"paired by {'folds' if summary['folds'] else 'seeds'}; images: right in more runs of the arm, or in fewer"
    )
    return table


def pooled_table(rows: PooledRows) -> Table:
    """Validation values of all epochs of all runs together, in the columns of anvelezec/distillation."""
    names = [name for name in QUANTITIES if any(name in row for row in rows.values())]
    table = _table("", *(QUANTITIES[name][0] for name in names), "values")
    for arm, row in rows.items():
        cells = [f"{row[name].mean:.6f} ± {row[name].std or 0:.6f}" if name in row else "" for name in names]
        table.add_row(arm, *cells, str(max(found.n for found in row.values())))
    table.title = "pooled over runs and epochs"
    table.caption = NOTE
    return table


def _p_text(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _seeds(comparison: dict[str, Any]) -> str:
    """Whether the seeds are enough, or how many more a difference like this one needs."""
    if comparison["p_t"] is not None and comparison["p_t"] < SIGNIFICANT:
        return "enough"
    needed = comparison["seeds_needed"]
    if needed is None:
        return ""
    # A difference that is not found with so many has less than the power that is asked for.
    return f"{needed - comparison['n']} more"


def _cost(cost: dict[str, Any]) -> list[str]:
    return [count_text(cost["parameters"]), count_text(cost["macs"])]


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption_justify="left", title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

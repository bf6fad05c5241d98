"""Results as tables for a terminal."""

from rich.table import Table

from understudy.evaluation.statistics import PairedDifference
from understudy.experiments.demo import Comparison, spread
from understudy.experiments.run import Result


def count_text(count: float) -> str:
    """A number of parameters or multiply-adds for people: 272 k, 40.8 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(int(count))


def result_table(result: Result) -> Table:
    """Teacher and student of one run."""
    table = table_of("", "accuracy on validation", "on test", "parameters", "MACs", "latency")
    if result["teacher"]:
        table.add_row(f"teacher {result['teacher']['name']}", *_measured(result["teacher"]))
    table.add_row(f"student {result['student']}", *_measured(result))
    table.caption = f"epoch {result['selected']['epoch']} of {result['epochs']}, selected by {result['selected']['by']}"
    return table


def _measured(model: Result) -> list[str]:
    cost = model["cost"]
    accuracies = [f"{model[split]['accuracy']:.2%}" for split in ("val", "test")]
    return [*accuracies, count_text(cost["parameters"]), count_text(cost["macs"]), f"{cost['latency_ms']:.2f} ms"]


def chain_table(results: list[Result]) -> Table:
    """The students of a chain in order, with who taught them."""
    table = table_of("student", "seed", "taught by", "accuracy on validation", "on test", "parameters")
    for result in results:
        table.add_row(
            result["student"],
            str(result["seed"]),
            result["teacher"]["name"] if result["teacher"] else "labels alone",
            f"{result['val']['accuracy']:.2%}",
            f"{result['test']['accuracy']:.2%}",
            count_text(result["cost"]["parameters"]),
        )
    return table


def cohort_table(result: Result) -> Table:
    """The students of a cohort, the best one marked, and their mean."""
    table = table_of("student", "accuracy on validation", "on test", "epoch", "parameters")
    for number, student in enumerate(result["students"]):
        mark = " (best)" if number == result["best"]["student"] else ""
        table.add_row(
            f"{number} {student['student']}{mark}",
            *(f"{student[split]['accuracy']:.2%}" for split in ("val", "test")),
            str(student["selected"]["epoch"]),
            count_text(student["cost"]["parameters"]),
        )
    table.add_row("mean", *(f"{result['mean'][split]:.2%}" for split in ("val", "test")))
    table.caption = f"epochs and the best student are selected by {result['best']['by']}"
    return table


def comparison_table(comparison: Comparison) -> Table:
    """Teacher, plain and distilled students over all seeds."""
    seeds = len(comparison.plain)
    table = table_of("", "test accuracy", "parameters", "MACs", "size", "latency")
    rows = [("teacher", [comparison.teacher]), ("plain", comparison.plain), ("distilled", comparison.distilled)]
    for kind, results in rows:
        cost = results[0]["cost"]
        mean = results[0]["test"]["accuracy"]
        text = f"{mean:.2%}"
        if len(results) > 1:
            mean, deviation = spread(results)
            text = f"{mean:.2%} ± {deviation:.2%}"
        table.add_row(
            f"{kind} ({results[0]['student']})",
            text,
            count_text(cost["parameters"]),
            count_text(cost["macs"]),
            f"{cost['bytes'] / 1e3:.1f} kB",
            f"{cost['latency_ms']:.2f} ms",
        )
    images = comparison.teacher["images"]["test"]
    table.caption = f"mean ± standard deviation over {seeds} seeds; {images} test images, read once per run"
    return table


def verdict(comparison: Comparison) -> str:
    """Whether distillation helped, in one sentence."""
    difference = comparison.difference
    numbers = f"{difference.mean * 100:+.2f} points, {_certainty(difference)}, n = {difference.num_pairs} paired seeds"
    if not difference.significant:
        return f"Not shown: distilled minus plain is {numbers}."
    return f"Distillation {'helped' if difference.mean > 0 else 'hurt'}: distilled minus plain is {numbers}."


def _certainty(difference: PairedDifference) -> str:
    if difference.low is None or difference.high is None:
        return "no confidence interval as all differences are equal"
    ends = f"[{difference.low * 100:+.2f}, {difference.high * 100:+.2f}]"
    return f"95 % confidence interval {ends}, p = {difference.p_value:.2g}"


def table_of(*columns: str) -> Table:
    """An empty table with its texts on the left."""
    table = Table(caption_justify="left", title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

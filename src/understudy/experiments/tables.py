"""Results and choices as tables for a terminal."""

import inspect

from rich.table import Table

from understudy.config import settings_of
from understudy.data.base import DATASETS
from understudy.experiments.demo import Comparison, spread
from understudy.experiments.evaluate import Evaluation
from understudy.experiments.run import Result
from understudy.experiments.settings import FROM_DATA
from understudy.methods.base import METHODS
from understudy.models.base import MODELS


def count_text(count: float) -> str:
    """A number of parameters or multiply-adds for people: 272 k, 40.8 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(int(count))


def result_table(result: Result) -> Table:
    """Teacher and student of one run."""
    table = _table("", "accuracy on validation", "on test", "parameters", "MACs", "latency")
    if result["teacher"]:
        teacher = result["teacher"]
        accuracies = [f"{teacher[split]['accuracy']:.2%}" for split in ("val", "test")]
        table.add_row(f"teacher {teacher['name']}", *accuracies, "", "", "")
    cost = result["cost"]
    table.add_row(
        f"student {result['student']}",
        f"{result['val']['accuracy']:.2%}",
        f"{result['test']['accuracy']:.2%}",
        count_text(cost["parameters"]),
        count_text(cost["macs"]),
        f"{cost['latency_ms']:.2f} ms",
    )
    table.caption = f"epoch {result['selected']['epoch']} of {result['epochs']}, selected by {result['selected']['by']}"
    return table


def evaluation_table(found: Evaluation) -> Table:
    """Scores on each split."""
    names = list(next(iter(found.scores.values())))
    table = _table("split", "images", *names)
    for split, scores in found.scores.items():
        values = [f"{scores[name]:.4f}" if name == "nll" else f"{scores[name]:.2%}" for name in names]
        table.add_row(split, f"{found.images[split]:,}", *values)
    cost = found.cost
    table.title = f"{found.name} on {found.data}"
    table.caption = (
        f"{count_text(cost.parameters)} parameters, {count_text(cost.macs)} MACs, {cost.bytes / 1e6:.2f} MB, "
        f"{cost.latency_ms:.2f} ms an image"
    )
    return table


def comparison_table(comparison: Comparison) -> Table:
    """Teacher, plain and distilled students over all seeds."""
    seeds = len(comparison.plain)
    table = _table("", "test accuracy", "parameters", "MACs", "size", "latency")
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
    numbers = (
        f"{difference.mean * 100:+.2f} points, 95 % confidence interval [{difference.low * 100:+.2f}, "
        f"{difference.high * 100:+.2f}], p = {difference.p_value:.2g}, n = {difference.num_pairs} paired seeds"
    )
    if not difference.significant:
        return f"Not shown: distilled minus plain is {numbers}."
    return f"Distillation {'helped' if difference.mean > 0 else 'hurt'}: distilled minus plain is {numbers}."


def methods_table() -> Table:
    """All methods with their settings."""
    table = _table("method", "settings", "what it does")
    for name in METHODS.names():
        method = METHODS.get(name)
        table.add_row(name, _settings(method), _summary(method))
    return table


def method_page(name: str) -> str:
    """Everything about one method: paper, terms, settings."""
    method = METHODS.get(name)
    paper = inspect.getdoc(inspect.getmodule(method)) or ""
    label = f"Goes with label.weight={method.label_weight:g} unless told otherwise."
    return "\n".join(
        [f"{name}: {paper}", "", inspect.getdoc(method) or "", "", f"Defaults: {_settings(method)}", label]
    )


def models_table() -> Table:
    """The models that come with the package."""
    table = _table("model", "images", "parameters (10 classes)", "settings")
    for name in MODELS.names():
        build = MODELS.get(name)
        parameters = sum(parameter.numel() for parameter in build(num_classes=10).parameters())
        size = MODELS.default_sizes[name]
        table.add_row(name, f"{size}x{size}", f"{parameters:,}", _settings(build, exclude=FROM_DATA))
    return table


def datasets_table() -> Table:
    """The data sets that can be named."""
    table = _table("data set", "settings", "what it is")
    for name in DATASETS.names():
        source = DATASETS.get(name)
        table.add_row(name, _settings(source), _summary(source))
    return table


def _settings(component: object, exclude: tuple[str, ...] = ()) -> str:
    assert callable(component)
    fields = settings_of(component, exclude=exclude).model_fields
    return ", ".join(
        name if field.is_required() else f"{name}={_plain(field.default)}" for name, field in fields.items()
    )


def _plain(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _summary(component: object) -> str:
    return (inspect.getdoc(component) or "").partition("\n")[0]


def _table(*columns: str) -> Table:
    table = Table(caption_justify="left", title_justify="left")
    for column in columns:
        table.add_column(column)
    return table

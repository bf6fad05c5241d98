"""Results and choices as tables for a terminal."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from textwrap import indent
from types import FunctionType
from typing import cast

from rich.table import Table

from understudy.config import settings_of
from understudy.data.base import DATASETS
from understudy.experiments.demo import Comparison, spread
from understudy.experiments.evaluate import Evaluation
from understudy.experiments.run import Result
from understudy.experiments.settings import FROM_DATA
from understudy.methods.base import METHODS, Method
from understudy.methods.feature import FeatureMethod
from understudy.methods.weighting import Ramp
from understudy.models.base import MODELS

_LOSSES = "understudy.losses."
_CHECKS = "understudy.losses.checks"


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
    table = _table("student", "seed", "taught by", "accuracy on validation", "on test", "parameters")
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
    """All methods with their papers, terms and settings."""
    table = _table("method", "what and where from", "terms", "settings")
    for name in METHODS.names():
        method = METHODS.get(name)
        table.add_row(name, _paper(method), ", ".join(_made(method).terms), _settings(method))
    table.caption = "understudy methods show NAME explains one"
    return table


def method_page(name: str) -> str:
    """Everything about one method: paper, settings, what it needs, and the losses that it computes."""
    method = METHODS.get(name)
    made = _made(method)
    stages = [f"{stage.name} ({stage.epochs or 'train.epochs'} epochs)" for stage in made.stages()]
    facts = {
        "Terms": ", ".join(made.terms),
        "Defaults": _settings(method),
        "Label loss": f"label.weight={method.label_weight:g} goes with it unless told otherwise",
        "Stages": ", then ".join(stages),
        "Layers": f"{method.where} of the automatic pairing" if issubclass(method, FeatureMethod) else "",
        "Labels": "needs the label of each image" if method.needs_labels else "takes unlabelled images too",
        "Several processes": "its terms relate the images of a batch" if method.relates_images else "train as one",
    }
    lines = [f"{name}: {_paper(method)}.", "", inspect.getdoc(method) or "", ""]
    lines += [f"{word}: {fact}." for word, fact in facts.items() if fact]
    for loss in _losses(method):
        text = (inspect.getdoc(loss) or "").partition("\n\n>>>")[0]
        lines += ["", f"{loss.__module__}.{loss.__name__}:", "", indent(text, "    ")]
    return "\n".join(lines)


def _made(method: type[Method]) -> Method:
    return cast("Callable[..., Method]", method)()


def _paper(method: type[Method]) -> str:
    """The first line of the method's module."""
    text = inspect.getdoc(inspect.getmodule(method)) or ""
    return " ".join(text.partition("\n\n")[0].split()).removesuffix(".")


def _losses(method: type[Method]) -> list[FunctionType]:
    """The loss functions that the method's module has imported, in its order."""
    found = vars(inspect.getmodule(method)).values()
    return [
        loss
        for loss in found
        if isinstance(loss, FunctionType) and loss.__module__.startswith(_LOSSES) and loss.__module__ != _CHECKS
    ]


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
    if isinstance(value, Ramp):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        changed = [f"{key}: {part}" for key, part in parts.items() if part != getattr(Ramp, key, None)]
        return f"{{{', '.join(changed)}}}"
    return str(value)


def _summary(component: object) -> str:
    return (inspect.getdoc(component) or "").partition("\n")[0]


def _table(*columns: str) -> Table:
    table = Table(caption_justify="left", title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

"""What there is to choose from, as tables for a terminal."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from textwrap import indent
from types import FunctionType
from typing import cast

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from understudy.config import settings_of
from understudy.data.base import DATASETS
from understudy.experiments.settings import FROM_DATA
from understudy.methods.base import METHODS, Method
from understudy.methods.feature import FeatureMethod
from understudy.methods.weighting import Ramp
from understudy.models.base import MODELS

_LOSSES = "understudy.losses."
_CHECKS = "understudy.losses.checks"


def methods_table() -> Table:
    """All methods with their papers and settings, in two lines each."""
    table = _table(METHODS.names(), "method", "what and where from, settings")
    for name in METHODS.names():
        method = METHODS.get(name)
        table.add_row(name, Group(_Shortened(_paper(method)), _line(_settings(method), style="dim")))
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
    table = _table(MODELS.names(), "model", "images", "parameters (10 classes)", "settings")
    for name in MODELS.names():
        build = MODELS.get(name)
        parameters = sum(parameter.numel() for parameter in build(num_classes=10).parameters())
        size = MODELS.default_sizes[name]
        table.add_row(name, f"{size}x{size}", f"{parameters:,}", _settings(build, exclude=FROM_DATA))
    return table


def datasets_table() -> Table:
    """The data sets that can be named, in two lines each."""
    table = _table(DATASETS.names(), "data set", "what it is, settings")
    for name in DATASETS.names():
        source = DATASETS.get(name)
        table.add_row(name, Group(_line(_summary(source)), _line(_settings(source), style="dim")))
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


class _Shortened:
    """A line that is cut in the middle where it is too long: a paper's venue and year stand at its end."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, min(len(self.text), options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tail = self.text.rpartition(", ")[2]
        room = options.max_width - len(tail) - 2
        yield Text(self.text if len(self.text) <= options.max_width else f"{self.text[:room]}… {tail}")


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _table(names: Sequence[str], *columns: str) -> Table:
    """A table whose first column holds `names`, which stay whole."""
    table = Table(caption_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, header_style="bold", min_width=max(map(len, names)) if number == 0 else None)
    return table

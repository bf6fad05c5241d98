"""What a run would do, without doing it."""

from itertools import zip_longest

from rich.table import Table
from torch import nn

from understudy.classifier import Classifier
from understudy.evaluation.cost import measure_cost
from understudy.experiments.assembly import Assembly
from understudy.experiments.caching import cache_size
from understudy.experiments.inputs import shape_seen_by
from understudy.experiments.tables import count_text
from understudy.methods.base import Method
from understudy.models import count_parameters
from understudy.taps import network_of, probe
from understudy.teachers import members_of


def plan_tables(made: Assembly) -> list[Table]:
    """Data, models with their cost, the student's layers, those that the methods read, and the training as tables."""
    read = _read(made)
    return [_data(made), _models(made), _layers(made), *([read] if read.row_count else []), _training(made)]


def _data(made: Assembly) -> Table:
    images = ", ".join(f"{len(made.split(split)):,} {split}" for split in ("train", "val", "test"))
    table = _table("data", "", "")
    table.add_row("name", made.data.name)
    table.add_row("images", images)
    table.add_row("classes", str(len(made.data.classes)))
    table.add_row("batches", f"{made.size}x{made.size}, {'grey' if made.data.channels == 1 else 'colour'}")
    return table


def _models(made: Assembly) -> Table:
    table = _table("models", "", "name", "input", "parameters", "MACs", "size", "latency")
    teachers = members_of(made.teacher.tapped.model) if made.teacher else []
    for role, model in (("student", made.student), *(("teacher", teacher) for teacher in teachers)):
        assert isinstance(model, Classifier)
        cost = measure_cost(model, made.example())
        table.add_row(
            role,
            model.name,
            "x".join(map(str, shape_seen_by(model, made.example()))),
            _parameters(model, cost.parameters) if role == "student" else count_text(cost.parameters),
            count_text(cost.macs),
            f"{cost.bytes / 1e6:.2f} MB",
            f"{cost.latency_ms:.2f} ms",
        )
    return table


def _parameters(model: nn.Module, count: int) -> str:
    trainable = count_parameters(network_of(model)).trainable
    return count_text(count) if trainable == count else f"{count_text(count)}, {count_text(trainable)} train"


def _layers(made: Assembly) -> Table:
    table = _table("student layers (tap these by name)", "layer", "kind", "output")
    for name, module in network_of(made.student).named_children():
        table.add_row(name, type(module).__name__, _shape(made.student, made, name))
    return table


def _read(made: Assembly) -> Table:
    table = _table("layers that the methods read", "method", "student layer", "output", "teacher layer", "output")
    for chosen, method in zip(made.settings.method, made.distiller.methods, strict=True):
        assert isinstance(method, Method)
        for ours, theirs in zip_longest(*method.taps(), fillvalue=""):
            shapes = _shape(made.student, made, ours), _shape(made.teacher and made.teacher.tapped.model, made, theirs)
            table.add_row(str(chosen["name"]), ours, shapes[0], theirs, shapes[1])
    return table


def _shape(model: nn.Module | None, made: Assembly, layer: str) -> str:
    """What a layer puts out for one image; nothing where there is none, a dash where it is no layer or no tensor."""
    if model is None or not layer:
        return ""
    try:
        shape = probe(model, made.example(), [layer])[layer]
    except (ValueError, LookupError):
        return "-"
    return "x".join(map(str, shape))


def _training(made: Assembly) -> Table:
    settings = made.settings
    # Not from the loader, which would decode all images.
    steps = max(1, len(made.data.train) // settings.train.batch_size)
    table = _table("training", "", "")
    table.add_row("terms", ", ".join(_terms(made)))
    table.add_row("epochs", f"{settings.train.epochs} of {steps} steps, batch {settings.train.batch_size}")
    table.add_row("optimizer", _component(settings.train.optimizer))
    table.add_row("schedule", _component(settings.train.schedule))
    if cache := cache_size(made):
        table.add_row("cache", cache)
    table.add_row("device", str(made.device))
    table.add_row("out", str(settings.out))
    return table


def _terms(made: Assembly) -> list[str]:
    terms = [f"ce x {made.distiller.label_weight.item():g}"] if made.distiller.use_labels else []
    return terms + [_component(method) for method in made.settings.method]


def _component(chosen: dict[str, object]) -> str:
    rest = ", ".join(f"{key}={value}" for key, value in chosen.items() if key != "name")
    return f"{chosen['name']} ({rest})"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

"""What `understudy match` shows."""

from collections.abc import Sequence

import torch
from rich.table import Table

from understudy.classifier import Classifier
from understudy.experiments.assembly import as_user_error
from understudy.experiments.networks import check_takes
from understudy.experiments.tables import count_text
from understudy.matching import MatchRow, explain, match_layers
from understudy.models import create_model, default_size, load_model
from understudy.models.saved import is_saved

# Characters of a layer's name that stand in one line, if it has so many.
MAX_NAME = 32


def match_models(student: str, teacher: str, *, size: int | None, classes: int, channels: int) -> list[MatchRow]:
    """Pair the layers of two models and explain it.

    Args:
        student: As `create_model` takes it.
        teacher: Likewise.
        size: Height and width of the images; None is the larger of what the two are meant for.
        classes: Number of classes of models that are not trained yet.
        channels: Channels of the images, 1 or 3.

    Raises:
        UserError: There is no such model.
    """
    side = size or max(default_size(student), default_size(teacher))
    ours, theirs = (_create(name, classes, channels) for name in (student, teacher))
    image = torch.zeros(2, channels, side, side)
    for role, model in (("student", ours), ("teacher", theirs)):
        check_takes(role, model, image, len(model.classes))
    with as_user_error("match"):
        return explain(match_layers(ours, theirs, image), ours, theirs, image)


def match_table(rows: Sequence[MatchRow]) -> Table:
    """A pairing for a terminal."""
    table = Table(caption="adapters are those of FitNets; methods have their own", caption_justify="left")
    # Names must be readable in full, to be copied.
    for column, names in {"student": [row.student for row in rows], "teacher": [row.teacher for row in rows]}.items():
        table.add_column(f"{column} layer", overflow="fold", min_width=min(max(map(len, names), default=0), MAX_NAME))
        table.add_column("shape", overflow="fold")
    for column in ("adapter", "parameters", "why"):
        table.add_column(column, overflow="fold")
    for row in rows:
        shapes = ["x".join(map(str, shape)) for shape in (row.student_shape, row.teacher_shape)]
        size = count_text(row.num_parameters)
        table.add_row(row.student, shapes[0], row.teacher, shapes[1], row.adapter, size, row.reason)
    return table


def _create(name: str, classes: int, channels: int) -> Classifier:
    return load_model(name) if is_saved(name) else create_model(name, classes=classes, channels=channels)

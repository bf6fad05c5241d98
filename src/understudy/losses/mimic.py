"""Plain mimicry of features, in four descriptions and two distances."""

from typing import Literal

from torch import Tensor

from understudy.losses.spatial import check_choice, pool_to_smaller, prepared
from understudy.losses.unit import unit

What = Literal["attention", "feature", "gram", "similarity"]
Distance = Literal["l1", "l2"]
Scale = Literal["unit", "raw"]


def mimic_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    what: What = "attention",
    distance: Distance = "l2",
    scale: Scale = "unit",
) -> Tensor:
    r"""Difference of a description of the maps, averaged over all its elements and the batch.

    - `feature`: the map itself, (batch, channels, height, width); shapes must be equal.
    - `attention`: the mean over channels of the squares, (batch, height, width); the larger map is average-pooled.
    - `gram`: $F F^T / HW$ of the flattened map, (batch, channels, channels); channels must be equal.
    - `similarity`: inner products of the images' flattened maps, divided by their size, (batch, batch); any shapes.

    Args:
        student: (batch, channels, height, width).
        teacher: As `student`, as far as `what` asks for it.
        what: The description.
        distance: Absolute difference (`l1`) or squared difference (`l2`).
        scale: `unit` divides each image's description, for `similarity` each row, by its length; `raw` does not.

    Returns:
        A scalar, 0 where the descriptions are equal.

    Raises:
        ValueError: They are not maps of one batch, their shapes do not fit the description, or a setting is unknown.
    """
    check_choice("what", what, ("attention", "feature", "gram", "similarity"))
    check_choice("distance", distance, ("l1", "l2"))
    check_choice("scale", scale, ("unit", "raw"))
    ours, theirs = prepared(student, teacher)
    if what == "attention":
        ours, theirs = pool_to_smaller(ours, theirs)
    described = _described(ours, what), _described(theirs, what)
    if described[0].shape != described[1].shape:
        raise ValueError(
            f"maps of shapes {tuple(student.shape)} and {tuple(teacher.shape)} cannot be compared by '{what}'; "
            f"use an adapter, or 'similarity'"
        )
    flat = (values.flatten(1) for values in described)
    first, second = (unit(values, dim=1) if scale == "unit" else values for values in flat)
    difference = first - second
    return difference.abs().mean() if distance == "l1" else difference.square().mean()


def _described(values: Tensor, what: What) -> Tensor:
    """(batch, channels, height, width) -> (batch, ...); not flat, since equal numbers of elements may not fit."""
    if what == "feature":
        return values
    if what == "attention":
        return values.square().mean(1)
    if what == "gram":
        flat = values.flatten(2)
        return flat @ flat.mT / flat.shape[2]
    rows = values.flatten(1)
    return rows @ rows.T / rows.shape[1]

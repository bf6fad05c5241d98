"""The protocol of a recipe on the digits, with small networks: same methods, losses and weights, in minutes."""

from collections.abc import Mapping
from typing import Any

from understudy.config import Tree

TEACHER, STUDENT, EPOCHS = "cnn-m", "cnn-xs", 30
NOTE = (
    "scale=small: the same methods, losses and weights on the digits with small networks. Its values have nothing to "
    "do with the published ones; what can be compared is the sign of a gain. Of rows that differ in networks alone "
    "only the first is left, since all would be the same runs."
)
# Settings of methods that are counted in epochs.
IN_EPOCHS = ("to_epoch", "from_epoch", "every")


def small_teacher() -> Tree:
    """The teacher that stands for that of any recipe."""
    return {"data": {"name": "digits"}, "student": {"name": TEACHER}, "train": {"epochs": EPOCHS}}


def small_student(tree: Tree) -> Tree:
    """A recipe's student, method and label loss on the small scale.

    Args:
        tree: The recipe's settings.
    """
    share = EPOCHS / tree["train"]["epochs"]
    exits = tree["student"].get("exits")
    student: Tree = {"name": STUDENT}
    if exits:
        # The one place where it saves something; plain training is of the same network, so no other one is taken.
        student |= {"exits": 1, "exit_heads": tree["student"].get("exit_heads", "bottleneck")}
    return {
        "data": {"name": "digits"},
        "student": student,
        "method": [_scaled(method, share) for method in tree["method"]],
        "label": tree.get("label", {}),
        "train": {"epochs": EPOCHS},
    }


def _scaled(settings: Mapping[str, Any], share: float) -> Tree:
    """What lasts some epochs lasts the same share of a shorter training."""
    return {key: _value(key, value, share) for key, value in settings.items()}


def _value(key: str, value: Any, share: float) -> Any:
    if isinstance(value, Mapping):
        return _scaled(value, share)
    if key in IN_EPOCHS or key.endswith("_epochs"):
        return type(value)(max(1, round(value * share)))
    return value

"""What the networks of a run see of its images."""

from torch import Tensor, nn

from understudy.classifier import Classifier
from understudy.experiments.assembly import Assembly
from understudy.teachers import members_of


def shape_seen_by(model: nn.Module, image: Tensor) -> list[int]:
    """Channels, height and width of what goes into the network of a classifier.

    Args:
        model: A classifier.
        image: Images as in the batches (batch, channels, height, width).
    """
    assert isinstance(model, Classifier)
    return list(model.preprocess(image).shape[1:])


def input_shapes(made: Assembly) -> dict[str, list[int]]:
    """Channels, height and width of the batches, and of what student and teacher see of them, as lists by role.

    Several teachers are `teacher 1`, `teacher 2` and so on.
    """
    image = made.example()
    teachers = members_of(made.teacher.tapped.model) if made.teacher else []
    names = ["teacher"] if len(teachers) == 1 else [f"teacher {number}" for number in range(1, len(teachers) + 1)]
    seen = {name: shape_seen_by(teacher, image) for name, teacher in zip(names, teachers, strict=True)}
    return {"batch": list(image.shape[1:]), "student": shape_seen_by(made.student, image), **seen}

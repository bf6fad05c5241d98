"""What losses ask of features that are compared element by element, and of maps."""

from torch import Tensor


def check_features(student: Tensor, teacher: Tensor) -> None:
    """Refuse features that would broadcast.

    Raises:
        ValueError: The two are not both (batch, channels, ...) of one shape, or they are empty.
    """
    if student.ndim < 2 or student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher features must have one shape (batch, channels, ...), "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if student.numel() == 0:
        raise ValueError(f"features must not be empty, got shape {tuple(student.shape)}")


def check_maps(*features: Tensor) -> None:
    """Refuse features that are not maps.

    Raises:
        ValueError: One is not (batch, channels, height, width), or is empty.
    """
    for feature in features:
        if feature.ndim != 4 or feature.numel() == 0:
            raise ValueError(f"expected maps of shape (batch, channels, height, width), got {tuple(feature.shape)}")

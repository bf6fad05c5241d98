"""Layers that bring a student's feature to the shape of a teacher's."""

from torch import nn

from understudy.losses.spatial import pooling_layer

MAX_KERNEL = 9

Shape = tuple[int, ...]
"""Without the batch axis: (channels, height, width) of a map, (channels,) of a vector."""


def regressor(student: Shape, teacher: Shape) -> nn.Module:
    """The regressor of FitNets (Romero et al., ICLR 2015), as in RepDistiller, with BatchNorm and ReLU behind it.

    Maps: a 3x3 convolution of stride 2 halves, a 4x4 transposed convolution of stride 2 doubles, a valid convolution
    of the right size shrinks by up to 8 pixels; beyond that, where it would have millions of parameters, the map is
    average-pooled, and one that must grow is scaled up bilinearly, in front of a 1x1 convolution. Vectors: one linear
    layer.

    Args:
        student: Shape of the student's feature.
        teacher: Shape of the teacher's feature.

    Raises:
        ValueError: One is a map and the other a vector.
    """
    check_kinds(student, teacher)
    if len(student) == 1:
        return nn.Linear(student[0], teacher[0])
    return nn.Sequential(*_resized(student, teacher), nn.BatchNorm2d(teacher[0]), nn.ReLU())


def signed_regressor(student: Shape, teacher: Shape) -> nn.Module:
    """The `regressor` of maps without its ReLU: for features that may be negative.

    Args:
        student: Shape of the student's feature (channels, height, width).
        teacher: Shape of the teacher's feature.
    """
    return nn.Sequential(*_resized(student, teacher), nn.BatchNorm2d(teacher[0]))


def connector(student: Shape, teacher: Shape) -> nn.Module:
    """A 1x1 convolution with BatchNorm (Heo et al., ICCV 2019): changes the width of a map, not its size.

    Args:
        student: Shape of the student's feature (channels, height, width).
        teacher: Shape of the teacher's feature.

    Raises:
        ValueError: They are not both maps.
    """
    check_kinds(student, teacher)
    if len(student) != 3:
        raise ValueError(f"a connector joins maps (channels, height, width), got {student} and {teacher}")
    return nn.Sequential(nn.Conv2d(student[0], teacher[0], 1, bias=False), nn.BatchNorm2d(teacher[0]))


def check_kinds(student: Shape, teacher: Shape) -> None:
    """Refuse to join a map with a vector.

    Raises:
        ValueError: The two have different numbers of axes.
    """
    if len(student) != len(teacher) or len(student) not in (1, 3):
        raise ValueError(
            f"cannot join features of shapes {student} and {teacher}: pair maps with maps, vectors with vectors"
        )


def _resized(student: Shape, teacher: Shape) -> list[nn.Module]:
    (ours, *size), (theirs, *wanted) = student, teacher
    if size == [2 * side for side in wanted]:
        return [nn.Conv2d(ours, theirs, 3, stride=2, padding=1)]
    if [2 * side for side in size] == wanted:
        return [nn.ConvTranspose2d(ours, theirs, 4, stride=2, padding=1)]
    kernel = (1 + size[0] - wanted[0], 1 + size[1] - wanted[1])
    if all(0 < side <= MAX_KERNEL for side in kernel):
        return [nn.Conv2d(ours, theirs, kernel)]
    shrinks = size[0] >= wanted[0] and size[1] >= wanted[1]
    resize = pooling_layer(size, wanted) if shrinks else nn.Upsample((wanted[0], wanted[1]), mode="bilinear")
    return [resize, nn.Conv2d(ours, theirs, 1)]

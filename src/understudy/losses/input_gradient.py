"""Attention transfer on input gradients: which pixels the answer hangs on (Zagoruyko and Komodakis, ICLR 2017)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from understudy.losses.checks import at_least_float32


def input_gradient(logits: Tensor, label: Tensor, image: Tensor, *, create_graph: bool) -> Tensor:
    r"""$J = \partial CE / \partial x$ for each image, from the sum over the batch, so that nothing is divided by it.

    Args:
        logits: (batch, classes), computed from `image`; only the first ones, if `label` is shorter, are read.
        label: Class ids (labelled,) of the first images.
        image: (batch, channels, height, width), requires a gradient.
        create_graph: Whether J is to be differentiated itself: for a student, not for a teacher.

    Returns:
        (labelled, channels, height, width). Between images it is independent only where the network has no BatchNorm
        in train mode.
    """
    labelled = at_least_float32(logits)[: len(label)]
    loss = cross_entropy(labelled, label, reduction="sum")
    return torch.autograd.grad(loss, image, create_graph=create_graph)[0][: len(label)]


def gradient_attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    r"""$\frac{1}{2} \|J_s - J_t\|_2$, not squared, averaged over the batch.

    No other public code has it, the authors' says "coming". Where both are equal the gradient is 0.

    Args:
        student: Input gradients (batch, channels, height, width), with their graph.
        teacher: As `student`.

    Returns:
        A scalar, 0 where both are equal.

    Raises:
        ValueError: The shapes differ, or the batch is empty.

    Paper: Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017, section 3.2.
    """
    return flip_symmetry_loss(student, teacher.detach())


def flip_symmetry_loss(gradient: Tensor, mirrored: Tensor) -> Tensor:
    r"""$\frac{1}{2} \|J(x) - flip(J(flip(x)))\|_2$, not squared, averaged over the batch: a student alone.

    Args:
        gradient: Input gradients of the images (batch, channels, height, width), with their graph.
        mirrored: Those of the mirrored images, mirrored back, with their graph too.

    Returns:
        A scalar, 0 where the gradients are symmetric.

    Raises:
        ValueError: The shapes differ, or the batch is empty.

    Paper: Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017, section 3.2.
    """
    if gradient.ndim != 4 or gradient.shape != mirrored.shape or gradient.numel() == 0:
        raise ValueError(
            f"input gradients must have one shape (batch, channels, height, width) and not be empty, "
            f"got {tuple(gradient.shape)} and {tuple(mirrored.shape)}"
        )
    difference = at_least_float32(gradient) - at_least_float32(mirrored)
    return torch.linalg.vector_norm(difference.flatten(1), dim=1).mean() / 2

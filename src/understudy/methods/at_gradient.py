"""Attention transfer on input gradients (Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017)."""

from typing import ClassVar

from understudy.losses.input_gradient import flip_symmetry_loss, gradient_attention_loss, input_gradient
from understudy.methods.base import Method, Taps, register
from understudy.methods.logits import labels_of
from understudy.methods.weighting import Weight
from understudy.taps import IMAGE, IMAGE_GRADIENT, MIRRORED_LOGITS
from understudy.types import Batch, Outputs, Terms


@register("at-gradient")
class GradientAttention(Method):
    """Match which pixels the teacher's answer hangs on: the gradient of the label loss with respect to the image.

    The gradient is that of pixels in 0..1, whatever normalisation each network has behind them. The student is
    differentiated twice, and no step compiles into one graph.

    The student's gradient is that of its training pass: BatchNorm is in train mode there, so it normalises by the batch
    and each image's gradient also runs through the statistics of the others, while the teacher's is taken in eval
    mode, image by image. The student that is evaluated, with running statistics, has a slightly different gradient.

    Args:
        weight: Weight of the term, the paper's beta, which it does not give; half the distance, not squared, is
            averaged over the batch.

    Raises:
        ValueError: The weight is negative.
    """

    compiles: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True

    def __init__(self, *, weight: Weight = 1.0) -> None:
        super().__init__({"at_gradient": weight})

    def taps(self) -> Taps:
        """The image, and the teacher's gradient at it."""
        return Taps((IMAGE,), (IMAGE_GRADIENT,))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `at_gradient`."""
        ours = input_gradient(student.logits, labels_of(batch), student.features[IMAGE], create_graph=True)
        return {"at_gradient": gradient_attention_loss(ours, teacher.features[IMAGE_GRADIENT])}


@register("at-symmetry")
class GradientSymmetry(Method):
    """Ask that the student's input gradient of a mirrored image is the mirrored gradient; needs no teacher.

    The mirrored images go through the student in a second pass, which leaves BatchNorm's running statistics alone. In
    both passes BatchNorm is in train mode and normalises by the batch, as in `at-gradient`.

    Args:
        weight: Weight of the term, the paper's beta, which it does not give; half the distance, not squared, is
            averaged over the batch.

    Raises:
        ValueError: The weight is negative.
    """

    compiles: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = False

    def __init__(self, *, weight: Weight = 1.0) -> None:
        super().__init__({"at_symmetry": weight})

    def taps(self) -> Taps:
        """The image, and the logits of the mirrored image."""
        return Taps((IMAGE, MIRRORED_LOGITS))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Term `at_symmetry`."""
        label, image = labels_of(batch), student.features[IMAGE]
        gradient = input_gradient(student.logits, label, image, create_graph=True)
        # Through the mirroring, so it comes out mirrored back.
        mirrored = input_gradient(student.features[MIRRORED_LOGITS], label, image, create_graph=True)
        return {"at_symmetry": flip_symmetry_loss(gradient, mirrored)}

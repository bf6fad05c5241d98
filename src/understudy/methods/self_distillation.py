"""Be Your Own Teacher (Zhang, Song, Gao, Chen, Bao and Ma, ICCV 2019)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from understudy.errors import UserError
from understudy.losses.checks import check_temperature
from understudy.losses.exits import ExitTeacher, exit_targets, weighted_sum
from understudy.losses.hint import hint_loss
from understudy.losses.logit import kd_loss
from understudy.methods.base import Facts, Method, register
from understudy.methods.logits import labels_of
from understudy.methods.weighting import Weight
from understudy.taps import exit_feature
from understudy.types import Batch, Outputs, Terms


@register("self-distillation")
class SelfDistillation(Method):
    r"""The early exits of a student learn from labels and from its deepest exit; there is no other teacher.

    $\sum_i [ce \cdot CE(z_i, y) + kd \cdot T^2 KL(p_C \| p_i) + hint \cdot \overline{(F_i - F_C)^2}]$ over the early
    exits i. C is the network's own exit, whose label loss is `label.weight`; what it says and its feature $F_C$ are
    detached, so that it learns from labels alone. It needs `student.exits`. With `kd=0 hint=0` the exits are trained
    with labels alone (BranchyNet); with `student.train=exits label.weight=0` the network itself stays as it is.

    Features are what the classifier of each exit reads, one vector for each image. Where an early exit's is of another
    width, a linear layer brings it to the deepest one's.

    Args:
        temperature: Softens both sides; 3 as in the code of luanyunteng, of the authors and of MMRazor.
        teacher: `deepest`, or the exits together, by the mean of their `logits` or of their `probabilities`
            (Exit-Ensemble Distillation, 2021).
        ce: Weight of the cross-entropy of the early exits; 1 - alpha of the paper.
        kd: Weight of their divergence from the teacher, times the squared temperature; alpha, 0.3 in the authors' code.
        hint: Weight of the squared distance of features, averaged over features and images, so that it means the same
            for all batches and widths: 0.065 is luanyunteng's 1e-6 of the sum over 512 features and 128 images.
        ce_exits: Factor for each early exit in order of depth; None is 1 for all.
        kd_exits: Likewise; where the exits teach together one more may follow, for the network's own exit.
        hint_exits: Likewise, one for each early exit.

    Raises:
        ValueError: The temperature is not above 0, the teacher is unknown, or a weight or factor is negative.
    """

    needs_labels: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = False
    needs_exits: ClassVar[bool] = True
    temperature: Tensor
    ce_factors: Tensor
    kd_factors: Tensor
    hint_factors: Tensor

    def __init__(
        self,
        *,
        temperature: float = 3.0,
        teacher: ExitTeacher = "deepest",
        ce: Weight = 0.7,
        kd: Weight = 0.3,
        hint: Weight = 0.065,
        ce_exits: Sequence[float] | None = None,
        kd_exits: Sequence[float] | None = None,
        hint_exits: Sequence[float] | None = None,
    ) -> None:
        super().__init__({"exits_ce": ce, "exits_kd": kd, "exits_hint": hint})
        check_temperature(temperature)
        if teacher not in ("deepest", "logits", "probabilities"):
            raise ValueError(f"teacher must be deepest, logits or probabilities, got {teacher!r}")
        self.teacher: ExitTeacher = teacher
        self.factors = {"ce_exits": ce_exits, "kd_exits": kd_exits, "hint_exits": hint_exits}
        for name, factors in self.factors.items():
            if any(not 0 <= factor < float("inf") for factor in factors or ()):
                raise ValueError(f"each of {name} must be 0 or more and finite, got {factors}")
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)
        self.adapters = nn.ModuleList()

    def setup(self, facts: Facts) -> None:
        """Build what brings features to the deepest one's width.

        Raises:
            UserError: The student has no early exits, or there is not one factor for each.
        """
        count = sum(exit_feature(number) in facts.student for number in range(len(facts.student))) - 1
        if count < 1:
            raise UserError("self-distillation needs a student with early exits: set student.exits=auto")
        widths = [facts.student[exit_feature(number)][0] for number in range(count + 1)]
        adapted = [nn.Identity() if width == widths[-1] else nn.Linear(width, widths[-1]) for width in widths[:-1]]
        self.adapters = nn.ModuleList(adapted)
        for name in self.factors:
            self.register_buffer(name.replace("exits", "factors"), self._factors(name, count), persistent=False)

    def _factors(self, name: str, count: int) -> Tensor:
        """Factors of the early exits and last of the network's own."""
        given = self.factors[name]
        factors = [1.0] * count if given is None else list(given)
        most = count + 1 if name == "kd_exits" and self.teacher != "deepest" else count
        if not count <= len(factors) <= most:
            raise UserError(f"method.self-distillation.{name}={factors} has no factor for each of {count} early exits")
        return torch.tensor([*factors, 0.0][: count + 1])

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        """Terms `exits_ce`, `exits_kd`, `exits_hint`, each the sum over exits."""
        labels = labels_of(batch)
        said = [*student.exits, student.logits]
        targets = exit_targets(said, teacher=self.teacher, temperature=self.temperature)
        # Where the deepest one teaches, it has nothing to learn from itself.
        learning = said[:-1] if self.teacher == "deepest" else said
        deepest = student.features[exit_feature(len(student.exits))]
        adapted = [adapter(student.features[exit_feature(i)]) for i, adapter in enumerate(self.adapters)]
        ce = [cross_entropy(logits, labels) for logits in student.exits]
        kd = [kd_loss(logits, targets, self.temperature) for logits in learning]
        hint = [hint_loss(feature, deepest) for feature in adapted]
        return {
            "exits_ce": weighted_sum(ce, self.ce_factors[: len(ce)]),
            "exits_kd": weighted_sum(kd, self.kd_factors[: len(kd)]),
            "exits_hint": weighted_sum(hint, self.hint_factors[: len(hint)]),
        }

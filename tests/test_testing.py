"""The conformance battery of 2026: each of its rules is broken once, and must be found."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from understudy.methods.base import Facts, Method, Stage, Taps
from understudy.methods.kd import KD
from understudy.methods.weighting import Weight
from understudy.taps import network_of
from understudy.teachers import Teacher
from understudy.testing import CHECKS, check_method
from understudy.testing.case import Case
from understudy.types import Batch, Outputs, Terms


class Sound(Method):
    """Match the features of one layer by a convolution, in two stages.

    Args:
        weight: Weight of the term.
        layer: What is compared.
    """

    def __init__(self, *, weight: Weight = 1.0, layer: str = "layer2") -> None:
        super().__init__({"sound": weight})
        self.layer = layer

    def stages(self) -> tuple[Stage, ...]:
        return Stage("hint", epochs=1, labels=False), Stage("train")

    def taps(self) -> Taps:
        return Taps((self.layer,), (self.layer,))

    def setup(self, facts: Facts) -> None:
        self.adapter = nn.Conv2d(facts.student[self.layer][0], facts.teacher[self.layer][0], 1)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        ours, theirs = self.adapter(student.features[self.layer]), teacher.features[self.layer].detach()
        return {"sound": self.compare(ours, theirs, batch)}

    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return mse_loss(ours, theirs)


class NoArgs(Sound):
    """A method of 2015 whose settings are not described."""


class Positional(Sound):
    """Takes its weight by position.

    Args:
        weight: Weight of the term.
    """

    def __init__(self, weight: Weight = 1.0) -> None:
        super().__init__(weight=weight)


class Undocumented(Sound):
    """Has a setting that nobody described.

    Args:
        weight: Weight of the term.
    """

    def __init__(self, *, weight: Weight = 1.0, other: int = 1) -> None:
        super().__init__(weight=weight)


class Unweighted(Sound):
    """Ignores its weight.

    Args:
        weight: Weight of the term.
    """

    def __init__(self, *, weight: Weight = 1.0) -> None:
        super().__init__()


class FixedWeight(Sound):
    """Has a term whose weight cannot be set.

    Args:
        layer: What is compared.
    """

    def __init__(self, *, layer: str = "layer2") -> None:
        super().__init__(layer=layer)


class Unreduced(Sound):
    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return (ours - theirs).square().mean(dim=(1, 2, 3))


class Misnamed(Sound):
    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        return {"other": super().forward(student, teacher, batch)["sound"]}

    def weight(self, term: str) -> Tensor:
        return super().weight("sound")


class Silent(Sound):
    def __init__(self, *, weight: Weight = 1.0, layer: str = "layer2") -> None:
        super().__init__(weight=weight, layer=layer)
        self.terms = ("sound", "unsound")
        self.register_buffer("weight_unsound", torch.tensor(1.0))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        return {"unsound": super().forward(student, teacher, batch)["sound"]}


class Detached(Sound):
    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return mse_loss(ours.detach(), theirs)


class Idle(Sound):
    def setup(self, facts: Facts) -> None:
        super().setup(facts)
        self.idle = nn.Linear(3, 3)


class Leaking(Sound):
    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        ours, theirs = self.adapter(student.features[self.layer]), teacher.features[self.layer]
        return {"sound": mse_loss(ours, theirs)}


class Labelled(Sound):
    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return mse_loss(ours, theirs) * (1 if batch.label is None else 2)


class Overflowing(Sound):
    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return mse_loss(ours.half() * 1e4, theirs)


class Relating(Sound):
    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return (ours.flatten(1) @ ours.flatten(1).T).square().mean()


class RelatingAndSayingSo(Relating):
    relates_images: ClassVar[bool] = True


class Branching(Sound):
    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return mse_loss(ours, theirs) if ours.sum() > 0 else mse_loss(ours, theirs) * 2


class ChangesWhenCompiled(Sound):
    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return mse_loss(ours, theirs) * (3 if torch.compiler.is_compiling() else 1)


class TouchesTeacher(Sound):
    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        GIVEN["teacher"].tapped.get_parameter("model.fc.bias").add_(1)
        return super().forward(student, teacher, batch)


class Forgetting(Sound):
    def __init__(self, *, weight: Weight = 1.0, layer: str = "layer2") -> None:
        super().__init__(weight=weight, layer=layer)
        self.num_steps = 0

    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        self.num_steps += 1
        return mse_loss(ours, theirs) * self.num_steps


class Infinite(Sound):
    """At a weight of 0 the gradient is not a number.

    Args:
        weight: Weight of the term.
    """

    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return (ours - ours).square().sum().sqrt()


class Deploying(Sound):
    def deploy(self, student: nn.Module) -> nn.Module:
        return nn.Sequential(student, nn.Linear(5, 4))


class Hooking(Sound):
    def deploy(self, student: nn.Module) -> nn.Module:
        student.register_forward_hook(lambda module, inputs, output: None)
        return student


class WithoutNote(Sound):
    def deploy(self, student: nn.Module) -> nn.Module:
        network_of(student).set_submodule("fc", nn.Sequential(network_of(student).get_submodule("fc"), nn.Linear(5, 5)))
        return student


class Adding(Sound):
    def deploy(self, student: nn.Module) -> nn.Module:
        network_of(student).set_submodule("relu", Plus(self.adapter.weight.detach().sum().item()))
        return student


class Plus(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, features: Tensor) -> Tensor:
        return features + self.value


class Fixed(Sound):
    """Depends on the order of the teacher's classes."""

    def setup(self, facts: Facts) -> None:
        super().setup(facts)
        assert facts.teacher_network is not None
        self.register_buffer("factor", facts.teacher_network.get_parameter("fc.weight").detach()[0].abs().sum())

    def compare(self, ours: Tensor, theirs: Tensor, batch: Batch) -> Tensor:
        return mse_loss(ours, theirs) * self.get_buffer("factor")


class Reusing(Sound):
    """Gives the student the teacher's bias as it is."""

    def setup(self, facts: Facts) -> None:
        super().setup(facts)
        assert facts.teacher_network is not None
        self.register_buffer("bias", facts.teacher_network.get_parameter("fc.bias").detach().clone())

    def deploy(self, student: nn.Module) -> nn.Module:
        network_of(student).get_parameter("fc.bias").data = self.get_buffer("bias")
        return student


class OneTeacher(KD):
    def setup(self, facts: Facts) -> None:
        self.factor = 2.0 if facts.teacher_network is None else 1.0

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        return {name: term * self.factor for name, term in super().forward(student, teacher, batch).items()}


# The teacher of the present case.
GIVEN: dict[str, Teacher] = {}


def test_a_sound_method_passes_every_check() -> None:
    check_method(Sound, layer="layer1", weight=3.0)


def test_a_method_by_name_with_networks_of_ones_own() -> None:
    student = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    check_method("kd", student=student.append(nn.Linear(4, 5)), temperature=2.0)


def test_relating_images_is_allowed_to_those_who_say_so() -> None:
    CHECKS["processes"](Case(RelatingAndSayingSo))


BROKEN: list[tuple[str, type[Method], str]] = [
    ("documentation", NoArgs, "no 'Args:' section"),
    ("documentation", Positional, "'weight' must be keyword-only"),
    ("documentation", Undocumented, "'other' is not in the docstring"),
    ("settings", Unweighted, "'weight' is a Weight, but does not reach"),
    ("weight zero", FixedWeight, "no setting gives the weight of sound"),
    ("terms", Unreduced, r"must be one finite float32 number, got shape \(8,\)"),
    ("terms", Misnamed, "returns 'other'"),
    ("terms", Silent, "no stage returns sound"),
    ("gradient", Detached, "'sound' has no gradient in stage 'hint'|no term reaches the student"),
    ("gradient", Idle, "no term reaches the adapter's idle.bias, idle.weight"),
    ("targets", Leaking, "sends a gradient into the teacher's layer2"),
    ("unlabelled", Labelled, "stage 'hint' depends on the labels"),
    ("bf16", Overflowing, "not float32 or not finite"),
    ("processes", Relating, "is not the mean of those on its halves"),
    ("compile", ChangesWhenCompiled, "'sound' in stage 'hint' differs when compiled"),
    ("teacher", TouchesTeacher, "changes the teacher .*fc.bias"),
    ("resume", Forgetting, "a resumed run differs in stage 'hint'"),
    ("weight zero", Infinite, "at weight 0 it still changes the student's"),
    ("deploy", Hooking, "has hooks on itself"),
    ("deploy", Deploying, "logits of shape"),
    ("saved", Deploying, "deploy gives a Sequential; change the network"),
    ("saved", WithoutNote, "the saved student cannot be loaded .*fc.0.weight.*register_change"),
    ("saved", Adding, "gives other logits when it is loaded again"),
    ("reordered", Fixed, "'sound' in stage 'hint' is not that of a teacher with its classes in another order"),
    ("reordered", Reusing, "the exported student is not that of a teacher with its classes in another order"),
    ("ensemble", OneTeacher, "'kd' in stage 'train' is not that of the mean of several teachers' logits"),
]


@pytest.mark.parametrize(("check", "method", "message"), BROKEN, ids=[method.__name__ for _, method, _ in BROKEN])
def test_a_broken_rule_is_found(check: str, method: type[Method], message: str) -> None:
    case = Case(method)
    GIVEN["teacher"] = case.teacher
    with pytest.raises(AssertionError, match=f"^{method.__name__}: .*({message})"):
        CHECKS[check](case)


def test_every_check_but_that_of_the_paper_is_broken_once() -> None:
    assert {check for check, _, _ in BROKEN} | {"paper"} == set(CHECKS)


def test_a_branch_on_data_is_found() -> None:
    with pytest.raises(Exception, match=r"[Dd]ata-dependent"):
        CHECKS["compile"](Case(Branching))


def test_a_module_without_paper_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from understudy.methods import kd

    monkeypatch.setattr(kd, "__doc__", "Knowledge distillation.\n\nSince 2015.")
    with pytest.raises(AssertionError, match=r"KD: its module does not name the paper .*'Knowledge distillation\.'"):
        check_method(KD)


def test_the_check_is_named() -> None:
    with pytest.raises(AssertionError) as caught:
        check_method(NoArgs)
    assert caught.value.__notes__ == ["in check_method's check 'documentation' of NoArgs"]


def test_checking_changes_nothing_outside() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    check_method("kd", student=network, teacher=network)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())

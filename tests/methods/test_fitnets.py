import pytest
import torch
from feature_toys import MATCH, distilled, two_stages, without_gradient
from toys import random_batch, state

from understudy.distiller import Distiller
from understudy.losses.hint import hint_loss
from understudy.losses.logit import soft_cross_entropy
from understudy.methods.base import Taps
from understudy.methods.fitnets import FitNets
from understudy.methods.hint import Hint
from understudy.methods.kd import KD
from understudy.reach import gradient_norms, training_only_reached
from understudy.teachers import Teacher


def terms(distiller: Distiller, teacher: Teacher) -> list[str]:
    batch = random_batch()
    return list(distiller(batch, teacher(batch)).terms)


def train(distiller: Distiller, teacher: Teacher, *, num_steps: int = 20, lr: float = 0.05) -> list[float]:
    """As the trainer does it, with all that moves parameters without a gradient; the raw hint losses."""
    batch = random_batch(16)
    targets = teacher(batch)
    found = []
    with training_only_reached(distiller, batch, targets) as idle:
        parameters = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=0.1)
        distiller.train()
        for module in idle:
            module.training = False
        for _ in range(num_steps):
            optimizer.zero_grad()
            step = distiller(batch, targets)
            step.loss.backward()
            optimizer.step()
            found.append(step.terms["fitnets_hint"].raw.item())
    return found


def test_first_stage_lowers_the_hint_loss_and_leaves_what_is_above_bit_for_bit() -> None:
    distiller, teacher = distilled(FitNets())
    distiller.begin(distiller.stages()[0])
    before = state(distiller)
    losses = train(distiller, teacher)
    assert losses[-1] < 0.5 * losses[0]
    after = distiller.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    guided = {name for name in before if name.startswith(("student.model.lower", "methods.0.regressors"))}
    assert changed == guided
    assert "student.model.lower.1.running_mean" in guided
    assert "student.model.upper.1.running_mean" in before.keys() - changed


def test_regressor_is_trained_and_not_exported() -> None:
    distiller, teacher = distilled(FitNets())
    batch = random_batch()
    distiller(batch, teacher(batch)).loss.backward()
    assert not without_gradient(distiller.methods)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert distiller.deploy().state_dict().keys() == two_stages().state_dict().keys()


def test_stages_have_the_terms_of_the_paper() -> None:
    distiller, teacher = distilled(FitNets())
    hint, kd = distiller.stages()
    assert (hint.epochs, hint.labels, kd.epochs, kd.labels) == (30, False, None, True)
    distiller.begin(hint)
    assert terms(distiller, teacher) == ["fitnets_hint"]
    distiller.begin(kd)
    assert terms(distiller, teacher) == ["ce", "fitnets_kd"]


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [
        ({"first": "labels", "second": "labels"}, ["ce"], ["ce"]),
        ({"first": "labels"}, ["ce"], ["ce", "fitnets_kd"]),
        ({"second": "labels"}, ["fitnets_hint"], ["ce"]),
    ],
)
def test_other_regimes_in_stages(settings: dict[str, str], first: list[str], second: list[str]) -> None:
    distiller, teacher = distilled(FitNets(**settings))
    found = []
    for stage in distiller.stages():
        distiller.begin(stage)
        found.append(terms(distiller, teacher))
        gradient_norms(distiller, random_batch(), teacher(random_batch()))
    assert found == [first, second]


def test_joint_regimes_are_compositions() -> None:
    distiller, teacher = distilled(Hint())
    assert terms(distiller, teacher) == ["ce", "hint"]
    both = Distiller(two_stages(), [*distiller.methods, KD()], label_weight=1)
    assert terms(both, teacher) == ["ce", "hint", "kd"]


def test_nothing_is_tapped_without_hints() -> None:
    method = FitNets(first="labels")
    method.choose(MATCH)
    assert method.taps() == Taps()


def test_values_are_those_of_the_losses() -> None:
    distiller, teacher = distilled(FitNets(norm="paper", temperature=2.0))
    distiller.eval()
    batch = random_batch()
    targets = teacher(batch)
    method = distiller.methods[0]
    assert isinstance(method, FitNets)
    guided = distiller.student(batch.image).features["lower"]
    found = distiller(batch, targets).terms["fitnets_hint"].raw
    assert torch.equal(found, hint_loss(method.regressors[0](guided), targets.features["lower"], norm="paper"))
    distiller.begin(distiller.stages()[1])
    step = distiller(batch, targets)
    assert torch.equal(step.terms["fitnets_kd"].raw, soft_cross_entropy(step.outputs.logits, targets.logits, 2.0))


def test_soft_targets_weigh_four_at_first_and_one_at_last() -> None:
    method = FitNets()
    method.begin("train")
    found = []
    for epoch in (0, 5, 10):
        method.set_epoch(epoch, 10)
        found.append(method.weight("fitnets_kd").item())
    assert found == [4, 2.5, 1]


def test_defaults() -> None:
    assert Hint().weight("hint") == 100
    method = FitNets()
    assert method.weight("fitnets_hint") == 100
    assert method.temperature == 3
    assert [stage.lr_scale for stage in method.stages()] == [1, 1]
    assert [stage.lr_scale for stage in FitNets(pretrained_lr_scale=0.05).stages()] == [1, 0.05]
    assert (Hint.label_weight, FitNets.label_weight, Hint.where, FitNets.where) == (1, 1, "middle", "middle")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hint_epochs": 0}, "hint_epochs must be 1 or more, got 0"),
        ({"first": "ce"}, "first must be hint or labels, got 'ce'"),
        ({"second": "hint"}, "second must be kd or labels, got 'hint'"),
        ({"norm": "l2"}, "norm must be mean or paper, got 'l2'"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"pretrained_lr_scale": -0.1}, "pretrained_lr_scale must be 0 or more and finite, got -0.1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitNets(**settings)


def test_two_pairs_are_summed() -> None:
    pairs = [("lower", "lower"), ("upper", "upper")]
    single = [distilled(Hint(pairs=[pair])) for pair in pairs]
    both, teacher = distilled(Hint(pairs=pairs))
    for number, (distiller, _) in enumerate(single):
        distiller.methods[0].regressors[0].load_state_dict(both.methods[0].regressors[number].state_dict())
    batch = random_batch()

    def value(distiller: Distiller, teacher: Teacher) -> float:
        return distiller.eval()(batch, teacher(batch)).terms["hint"].raw.item()

    assert value(both, teacher) == pytest.approx(sum(value(*one) for one in single), rel=1e-6)

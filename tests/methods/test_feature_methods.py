import pytest
import torch
from feature_toys import MATCH, STAGES, distilled, two_stages, without_gradient
from toys import random_batch

from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.losses.attention import attention_loss
from understudy.losses.fsp import fsp_loss
from understudy.losses.mimic import mimic_loss
from understudy.losses.nst import nst_loss
from understudy.matching import match_layers
from understudy.methods.at import AttentionTransfer
from understudy.methods.base import METHODS as METHOD_CLASSES
from understudy.methods.base import Method
from understudy.methods.fsp import FSP, JointFSP
from understudy.methods.mimic import Mimic
from understudy.methods.nst import NST
from understudy.methods.weighting import Ramp
from understudy.models import create_model
from understudy.teachers import Teacher
from understudy.types import Outputs


def features(distiller: Distiller, teacher: Teacher) -> tuple[Outputs, Outputs]:
    batch = random_batch()
    return distiller.student(batch.image), teacher(batch)


def raw(distiller: Distiller, teacher: Teacher) -> dict[str, float]:
    batch = random_batch()
    return {name: term.raw.item() for name, term in distiller(batch, teacher(batch)).terms.items()}


METHODS: dict[str, Method] = {
    "at": AttentionTransfer(),
    "at-paper": AttentionTransfer(mapping="max_p", p=4, norm="paper"),
    "nst-linear": NST(kernel="linear"),
    "nst-gaussian": NST(kernel="gaussian"),
    "fsp": FSP(),
    "fsp-joint": JointFSP(pooling="max"),
    **{f"mimic-{what}": Mimic(what=what) for what in ("attention", "feature", "gram", "similarity")},
}


@pytest.mark.parametrize("name", METHODS)
def test_gradient_reaches_student_and_adapters_but_never_the_teacher(name: str) -> None:
    width = {"lower": 4, "upper": 5} if name.startswith("fsp") else {}
    distiller, teacher = distilled(METHODS[name], **width)
    terms = distiller(random_batch(), teacher(random_batch())).terms
    torch.stack([term.weighted for term in terms.values()][-1:]).sum().backward()
    assert not without_gradient(distiller.student.model.lower)
    assert not without_gradient(distiller.student.model.upper)
    assert not without_gradient(distiller.methods)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert distiller.deploy().state_dict().keys() == two_stages().state_dict().keys()


def test_terms_are_the_losses_summed_over_the_pairs() -> None:
    for method, loss in [
        (AttentionTransfer(norm="paper"), lambda s, t: attention_loss(s, t, norm="paper")),
        (NST(kernel="linear"), lambda s, t: nst_loss(s, t, kernel="linear")),
        (Mimic(what="similarity", distance="l1"), lambda s, t: mimic_loss(s, t, what="similarity", distance="l1")),
    ]:
        distiller, teacher = distilled(method)
        distiller.eval()
        student, targets = features(distiller, teacher)
        expected = sum(loss(student.features[ours], targets.features[theirs]).item() for ours, theirs in STAGES)
        assert raw(distiller, teacher)[method.terms[0]] == pytest.approx(expected, rel=1e-6)


def test_flow_goes_from_each_stage_to_the_next() -> None:
    distiller, teacher = distilled(JointFSP(), lower=4, upper=5)
    distiller.eval()
    ours, theirs = (outputs.features for outputs in features(distiller, teacher))
    expected = fsp_loss((ours["lower"], ours["upper"]), (theirs["lower"], theirs["upper"])).item()
    assert raw(distiller, teacher)["fsp_joint"] == pytest.approx(expected, rel=1e-6)


def test_fsp_has_its_term_in_the_first_stage_only() -> None:
    distiller, teacher = distilled(FSP(), lower=4, upper=5)
    first, last = distiller.stages()
    assert (first.epochs, first.labels) == (30, False)
    distiller.begin(first)
    assert list(raw(distiller, teacher)) == ["fsp"]
    distiller.begin(last)
    assert list(raw(distiller, teacher)) == ["ce"]


def test_fsp_refuses_channels_that_do_not_fit() -> None:
    with pytest.raises(UserError, match=r"equal channels: student layer 'upper' is \(5, 4, 4\), .* is \(7, 4, 4\)"):
        distilled(JointFSP(), lower=4, upper=7)
    with pytest.raises(UserError, match="'fc' is \\(3,\\)"):
        distilled(JointFSP(pairs=[("lower", "lower"), ("fc", "fc")]), lower=4)


def test_fsp_of_residual_networks_has_three_matrices() -> None:
    student, teacher = (create_model(name, classes=3, channels=1) for name in ("resnet8", "resnet14"))
    method = FSP()
    method.choose(match_layers(student, teacher, torch.zeros(1, 1, 8, 8)))
    assert method.pairs == (("relu", "relu"), ("layer1", "layer1"), ("layer2", "layer2"), ("layer3", "layer3"))


@pytest.mark.parametrize("name", ["ab", "ft", "hint", "reviewkd", "vid"])
def test_no_pair_and_a_pair_twice_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="pairs is empty: name layers, or leave it out"):
        METHOD_CLASSES.get(name)(pairs=[])
    with pytest.raises(ValueError, match=r"pairs has \[lower, lower\] twice"):
        METHOD_CLASSES.get(name)(pairs=[*STAGES, STAGES[0]])


def test_fsp_needs_two_pairs() -> None:
    with pytest.raises(ValueError, match="needs two or more"):
        FSP(pairs=[("lower", "lower")]).taps()


def test_mimic_logs_each_pair_where_it_has_a_share() -> None:
    distiller, teacher = distilled(Mimic(shares=[0.5, 2.0], weight=3.0))
    together, _ = distilled(Mimic())
    distiller.eval()
    together.eval()
    step = distiller(random_batch(), teacher(random_batch()))
    assert list(step.terms) == ["ce", "mimic_1", "mimic_2"]
    first, second = step.terms["mimic_1"], step.terms["mimic_2"]
    assert first.weighted.item() == pytest.approx(1.5 * first.raw.item())
    assert second.weighted.item() == pytest.approx(6 * second.raw.item())
    assert raw(together, teacher)["mimic"] == pytest.approx(first.raw.item() + second.raw.item())


@pytest.mark.parametrize("weight", [Ramp(2, 4), {"start": 2, "end": 4}])
def test_mimic_shares_scale_a_changing_weight(weight: object) -> None:
    method = Mimic(shares=[1.0, 0.5], weight=weight)
    method.set_epoch(10, 10)
    assert (method.weight("mimic_1").item(), method.weight("mimic_2").item()) == (4, 2)


def test_mimic_refuses_shares_before_training() -> None:
    with pytest.raises(ValueError, match=r"shares must be one for each of 2 pairs, got \[1.0\]"):
        Mimic(shares=[1.0], pairs=STAGES)
    method = Mimic(shares=[1.0])
    method.choose(MATCH)
    with pytest.raises(ValueError, match="one for each of 2 pairs"):
        method.taps()


@pytest.mark.parametrize(("what", "adapters"), [("attention", 0), ("feature", 2), ("gram", 1), ("similarity", 0)])
def test_mimic_adapts_only_what_does_not_fit(what: str, adapters: int) -> None:
    distiller, _ = distilled(Mimic(what=what), lower=4)
    built = [adapter for adapter in distiller.methods[0].adapters if list(adapter.parameters())]
    assert len(built) == (adapters if what != "feature" else 1)


def test_defaults() -> None:
    weights = {method.terms[0]: method.weight(method.terms[0]).item() for method in METHODS.values()}
    assert weights == {"at": 1000, "nst": 50, "fsp": 1, "fsp_joint": 50, "mimic": 1}
    assert all(method.label_weight == 1 for method in METHODS.values())
    assert NST().kernel == "polynomial"
    default = AttentionTransfer()
    assert (default.mapping, default.p, default.norm) == ("sum_p", 2, "mean")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AttentionTransfer(mapping="mean"), "mapping must be"),
        (lambda: AttentionTransfer(norm="l2"), "norm must be"),
        (lambda: AttentionTransfer(p=0.5), "p must be 1 or more"),
        (lambda: NST(kernel="rbf"), "kernel must be"),
        (lambda: FSP(init_epochs=0), "init_epochs must be 1 or more, got 0"),
        (lambda: JointFSP(pooling="sum"), "pooling must be"),
        (lambda: Mimic(what="map"), "what must be"),
        (lambda: Mimic(scale="std"), "scale must be"),
        (lambda: Mimic(distance="l3"), "distance must be"),
        (lambda: Mimic(shares=[-1.0]), "the weight of 'mimic_1' must be"),
    ],
)
def test_bad_settings_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()

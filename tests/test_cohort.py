from collections.abc import Sequence

import numpy as np
import pytest
import torch
from reference import mutual as reference
from torch import Tensor
from toys import FixedLogits, batch_of, random_batch, same_state, small_network, state

from understudy.cohort import Cohort, CohortStep, Peers
from understudy.distiller import Distiller
from understudy.methods.at import AttentionTransfer
from understudy.methods.dml import DML
from understudy.methods.fitnets import FitNets
from understudy.methods.kd import KD
from understudy.taps import Tapped
from understudy.types import Batch

CHOICES: tuple[Peers, ...] = ("mean", "sum", "probabilities", "logits")
# The golden values of the specification: student 0 against two peers.
GOLDEN = [[[1.0, 2, 3], [0, 0, 0]], [[3.0, 2, 1], [2, 0, -2]], [[0.0, 1, 0], [1, 1, 0]]]
LABELS = torch.tensor([2, 0])


def logits_of(*values: Sequence[Sequence[float]]) -> list[Tensor]:
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def fixed(logits: Sequence[Tensor], *, peers: Peers = "mean", weight: float = 1.0, temperature: float = 1.0) -> Cohort:
    methods = [DML(weight=weight, temperature=temperature) for _ in logits]
    return Cohort([Distiller(FixedLogits(z), [m]) for z, m in zip(logits, methods, strict=True)], peers=peers)


def told(cohort: Cohort) -> CohortStep:
    students = [member.student.model for member in cohort.each()]
    step: CohortStep = cohort(batch_of(torch.zeros(len(students[0].logits), 1, 1, 1), LABELS))
    step.loss.backward()
    return step


def gradient_of(cohort: Cohort, number: int) -> Tensor:
    gradient = list(cohort.each())[number].student.model.logits.grad
    assert gradient is not None
    return gradient


def label_gradient(logits: Tensor) -> Tensor:
    return (torch.softmax(logits, 1) - torch.nn.functional.one_hot(LABELS, logits.shape[1])) / len(LABELS)


def random_logits(num: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [2 * torch.randn(2, 5, dtype=torch.float64, generator=generator) for _ in range(num)]


def test_golden_values() -> None:
    logits = logits_of(*GOLDEN)
    pairs, average = (told(fixed(logits, peers=peers)).terms["0.dml"].raw.item() for peers in CHOICES[::2])
    assert pairs == pytest.approx(0.5803772065525, abs=1e-12)
    assert average == pytest.approx(0.4672013684037, abs=1e-12)
    assert pairs - average == pytest.approx(0.1131758381488, abs=1e-12)
    assert told(fixed(logits)).terms["0.ce"].raw.item() == pytest.approx(0.7531091265562, abs=1e-12)


@pytest.mark.parametrize("peers", CHOICES)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("num", [2, 4])
def test_each_student_equals_the_reference_in_value_and_gradient(peers: Peers, temperature: float, num: int) -> None:
    logits = random_logits(num)
    cohort = fixed(logits, peers=peers, temperature=temperature, weight=0.75)
    step = told(cohort)
    for number, own in enumerate(logits):
        others = [each.numpy() for place, each in enumerate(logits) if place != number]
        expected = reference.mutual(own.numpy(), others, peers, temperature)
        term = step.terms[f"{number}.dml"]
        assert term.raw.item() == pytest.approx(expected.value, abs=1e-12)
        assert term.weighted.item() == pytest.approx(0.75 * expected.value, abs=1e-12)
        # Peers are detached: beside its own two terms nothing reaches a student.
        gradient = gradient_of(cohort, number) - label_gradient(own)
        np.testing.assert_allclose(gradient.numpy(), 0.75 * expected.gradient, rtol=0, atol=1e-12)
    assert step.loss.item() == pytest.approx(sum(term.weighted.item() for term in step.terms.values()), abs=1e-12)


@pytest.mark.parametrize("num", [3, 5])
def test_pairs_and_the_average_of_probabilities_have_one_gradient(num: int) -> None:
    logits = random_logits(num)
    pairs, average, other = (fixed(logits, peers=peers) for peers in ("mean", "probabilities", "logits"))
    steps = [told(cohort) for cohort in (pairs, average, other)]
    for number in range(num):
        assert (gradient_of(pairs, number) - gradient_of(average, number)).abs().max() < 1e-12
        assert (gradient_of(pairs, number) - gradient_of(other, number)).abs().max() > 1e-3
        peers = [each.numpy() for place, each in enumerate(logits) if place != number]
        gap = steps[0].terms[f"{number}.dml"].raw - steps[1].terms[f"{number}.dml"].raw
        assert gap.item() == pytest.approx(reference.jensen_shannon(peers), abs=1e-12)
        assert gap.item() > 1e-3


def test_the_mixture_is_taken_at_the_temperature_of_the_method() -> None:
    logits = random_logits(3)
    softened = [fixed(logits, peers=peers, temperature=4.0) for peers in ("mean", "probabilities")]
    for cohort in softened:
        told(cohort)
    assert (gradient_of(softened[0], 0) - gradient_of(softened[1], 0)).abs().max() < 1e-12


def networks(num: int = 3, *, methods: bool = True, **chosen: object) -> Cohort:
    made = [Distiller(small_network(seed=seed), [DML()] if methods else []) for seed in range(num)]
    return Cohort(made, **chosen)


def gradients(distiller: Distiller) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in distiller.student.named_parameters() if p.grad is not None}


def step_alone(seed: int, batch: Batch) -> dict[str, Tensor]:
    distiller = Distiller(small_network(seed=seed))
    distiller.student.model.dropout.p = 0.0
    distiller(batch).loss.backward()
    return gradients(distiller)


def test_without_weight_each_gradient_is_that_of_plain_training_bit_for_bit() -> None:
    batch = random_batch()
    cohort = networks(weights=[0, 0, 0])
    for member in cohort.each():
        member.student.model.dropout.p = 0.0
    cohort(batch).loss.backward()
    for seed, member in enumerate(cohort.each()):
        alone, here = step_alone(seed, batch), gradients(member)
        assert alone.keys() == here.keys()
        assert all(torch.equal(alone[name], here[name]) for name in alone)


def test_a_student_of_weight_0_teaches_and_learns_from_the_labels_alone() -> None:
    step: CohortStep = networks(2, weights=[0, 2])(random_batch())
    assert step.terms["0.dml"].weighted == 0
    assert step.terms["0.dml"].raw > 0
    torch.testing.assert_close(step.terms["1.dml"].weighted, 2 * step.terms["1.dml"].raw)


def test_in_a_students_turn_the_others_stand_still() -> None:
    cohort, batch = networks(), random_batch()
    before = [state(member) for member in cohort.each()]
    cohort.turn = 1
    step: CohortStep = cohort(batch)
    step.loss.backward()
    assert list(step.terms) == ["1.ce", "1.dml"]
    for number, member in enumerate(cohort.each()):
        # Not even the BatchNorm statistics move, though the peers answer in training mode.
        assert same_state(member, before[number]) is (number != 1)
        assert bool(gradients(member)) is (number == 1)


def test_in_turn_the_loss_is_the_same_where_nothing_has_stepped() -> None:
    cohort, batch = networks(2), random_batch()
    for member in cohort.each():
        member.student.model.dropout.p = 0.0
    together: CohortStep = cohort(batch)
    cohort.turn = 1
    assert torch.equal(cohort(batch).loss, sum(together.terms[name].weighted for name in ("1.ce", "1.dml")))


def test_what_does_not_fit_is_refused() -> None:
    member = Distiller(small_network(), [DML()])
    with pytest.raises(ValueError, match="two students or more, got 1"):
        Cohort([member])
    with pytest.raises(ValueError, match=r"weights \[1\] must be one for each of 2 students"):
        networks(2, weights=[1])
    with pytest.raises(ValueError, match="0 or more and finite"):
        networks(2, weights=[1, -1])
    with pytest.raises(ValueError, match="peers must be mean, sum"):
        networks(2, peers="median")
    with pytest.raises(ValueError, match="reads the layers of one peer, not of 2: take two students"):
        Cohort([member, member, Distiller(small_network(), [AttentionTransfer(pairs=[("conv", "conv")])])])
    with pytest.raises(ValueError, match="FitNets"):
        Cohort([member, Distiller(small_network(), [FitNets(pairs=[("conv", "conv")])])])


def test_any_method_of_logits_may_teach() -> None:
    members = [Distiller(small_network(seed=seed), [KD()]) for seed in range(2)]
    assert list(Cohort(members)(random_batch()).terms) == ["0.ce", "0.kd", "1.ce", "1.kd"]


def test_losses_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        step: CohortStep = networks(3, peers="probabilities")(random_batch())
    assert {step.loss.dtype, *(term.raw.dtype for term in step.terms.values())} == {torch.float32}
    assert {outputs.logits.dtype for outputs in step.outputs} == {torch.bfloat16}


def test_a_peer_teaches_by_its_layers_without_a_gradient() -> None:
    batch = random_batch()
    pairs = [[("conv", "relu")], [("relu", "conv")]]
    cohort = Cohort([Distiller(small_network(seed=n), [AttentionTransfer(pairs=pairs[n])]) for n in range(2)])
    students = [member.student for member in cohort.each()]
    for student in students:
        student.model.dropout.p = 0.0
    cohort(batch).loss.backward()
    said = [Tapped(small_network(seed=n), ["conv", "relu"]) for n in range(2)]
    for number in range(2):
        alone = Distiller(small_network(seed=number), [AttentionTransfer(pairs=pairs[number])])
        alone.student.model.dropout.p = said[1 - number].model.dropout.p = 0.0
        with torch.no_grad():
            targets = said[1 - number](batch.image)
        alone(batch, targets).loss.backward()
        expected, found = gradients(alone), gradients(list(cohort.each())[number])
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    shown = cohort.targets(0, [member.student(batch.image) for member in cohort.each()])[0]
    assert not any(tensor.requires_grad for tensor in (shown.logits, *shown.features.values()))
    assert not any(module._forward_hooks for module in cohort.deploy().modules())

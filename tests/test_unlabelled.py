"""Images without labels in a step: which terms they take part in."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from toys import FixedLogits, small_network

from understudy.distiller import Distiller, Step
from understudy.engine.meter import Meter
from understudy.engine.trainer import _parts
from understudy.losses import kd_loss
from understudy.methods.base import METHODS, Method, Taps
from understudy.methods.kd import KD
from understudy.taps import IMAGE
from understudy.teachers import Teacher
from understudy.types import Batch, Outputs, Terms

LABELLED, ALL = 4, 10


class Seen(Method):
    """Notes what it is given; with and without a need for labels."""

    def __init__(self, *, labels: bool, taps: Sequence[str] = ()) -> None:
        super().__init__({f"seen_{labels}": 1.0})
        self.needs_labels = labels  # type: ignore[misc]
        self.tapped = tuple(taps)

    def taps(self) -> Taps:
        return Taps(self.tapped, self.tapped)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        self.seen = (student, teacher, batch)
        return {self.terms[0]: student.logits.square().mean()}


def mixed_batch(labelled: int = LABELLED, *, num: int = ALL) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(num, 1, 8, 8, generator=generator)
    label = torch.randint(3, (labelled,), generator=generator)
    return Batch(image, label, torch.arange(num), torch.full((num,), -1))


def logits(num: int = ALL, seed: int = 0) -> Tensor:
    return torch.randn(num, 3, generator=torch.Generator().manual_seed(seed))


def distilled(methods: Sequence[Method], batch: Batch, *, label_weight: float = 1.0) -> tuple[Step, Tensor]:
    student = FixedLogits(logits())
    step = Distiller(student, methods, label_weight=label_weight)(batch, Outputs(logits(seed=1), {}))
    step.loss.backward()
    assert student.logits.grad is not None
    return step, student.logits.grad


def test_labels_speak_of_the_labelled_and_the_teacher_of_all() -> None:
    batch = mixed_batch()
    step, _ = distilled([KD(temperature=2.0)], batch)
    torch.testing.assert_close(step.terms["ce"].raw, cross_entropy(logits()[:LABELLED], batch.label))
    torch.testing.assert_close(step.terms["kd"].raw, kd_loss(logits(), logits(seed=1), 2.0))


def test_gradients_reach_exactly_these_images() -> None:
    _, gradient = distilled([KD(weight=0.0)], mixed_batch())
    assert (gradient[:LABELLED] != 0).any(1).all()
    assert (gradient[LABELLED:] == 0).all()
    _, gradient = distilled([KD()], mixed_batch(), label_weight=0.0)
    assert (gradient != 0).any(1).all()


def test_only_methods_that_need_labels_see_the_labelled_part_alone() -> None:
    with_labels, without = Seen(labels=True, taps=["relu"]), Seen(labels=False, taps=["relu"])
    teacher = Teacher(small_network(seed=1), taps=["relu"])
    batch = mixed_batch()
    Distiller(small_network(), [with_labels, without])(batch, teacher(batch))
    for method, count in ((with_labels, LABELLED), (without, ALL)):
        student, targets, seen = method.seen
        assert len(student.logits) == len(targets.logits) == count
        assert len(student.features["relu"]) == len(targets.features["relu"]) == count
        assert len(seen.image) == len(seen.index) == len(seen.view) == count
        assert seen.label is batch.label


def test_a_labelled_batch_is_passed_on_as_it_is() -> None:
    method, batch = Seen(labels=True), mixed_batch(ALL)
    distilled([method], batch)
    assert method.seen[2] is batch


def test_the_image_stays_a_leaf_for_methods_that_differentiate_it() -> None:
    method = Seen(labels=True, taps=[IMAGE])
    batch = mixed_batch()
    step = Distiller(small_network(), [method])(batch, Outputs(logits(), {IMAGE: batch.image}))
    student = method.seen[0]
    gradient = torch.autograd.grad(student.logits.sum() + 0 * step.loss, student.features[IMAGE])[0]
    assert gradient.shape == batch.image.shape


@pytest.mark.parametrize("name", ["at-gradient", "at-symmetry"])
def test_input_gradients_are_those_of_the_labelled_images(name: str) -> None:
    batch = mixed_batch()
    alone = Batch(batch.image[:LABELLED], batch.label, batch.index[:LABELLED], batch.view[:LABELLED])
    values: list[Tensor] = []
    for given in (batch, alone):
        method = METHODS.get(name)()
        teacher = Teacher(small_network(seed=1), taps=method.taps().teacher)
        # In eval mode, where images know nothing of each other.
        step = Distiller(small_network(), [method]).eval()(given, teacher(given))
        values.append(step.terms[method.terms[0]].raw)
    torch.testing.assert_close(*values)
    assert values[0] > 0


def test_without_any_label_the_teacher_alone_teaches() -> None:
    step, _ = distilled([KD(), Seen(labels=True)], mixed_batch()._replace(label=None))
    assert list(step.terms) == ["kd"]


def test_compiled_equals_eager() -> None:
    batch = mixed_batch()
    targets = Outputs(logits(seed=1), {})
    eager = Distiller(FixedLogits(logits()), [KD()])
    compiled = torch.compile(eager, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch, targets).loss, eager(batch, targets).loss)


def test_training_accuracy_is_of_the_labelled_images() -> None:
    meter, total = Meter(torch.device("cpu")), 0.0
    for seed in range(3):
        batch = mixed_batch()
        assert batch.label is not None
        step = Distiller(FixedLogits(logits(seed=seed)), [])(batch)
        meter.add(step, batch)
        total += (logits(seed=seed)[:LABELLED].argmax(1) == batch.label).float().mean().item() / 3
    assert meter.epoch()["accuracy"] == pytest.approx(total)


def test_parts_of_a_batch_share_the_unlabelled_images() -> None:
    batch = mixed_batch(4, num=12)
    parts = _parts(batch, 2)
    assert [part.index.tolist() for part in parts] == [[0, 1, 4, 5, 6, 7], [2, 3, 8, 9, 10, 11]]
    assert torch.equal(torch.cat([part.label for part in parts if part.label is not None]), batch.label)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    targets = logits(12, seed=1)

    def gradient(pieces: list[Batch]) -> Tensor:
        network.zero_grad()
        distiller = Distiller(network, [KD()], label_weight=1.0)
        for piece in pieces:
            loss = distiller(piece, Outputs(targets[piece.index], {})).loss
            (loss * (len(piece.image) / 12)).backward()
        assert network[1].weight.grad is not None
        return network[1].weight.grad.clone()

    torch.testing.assert_close(gradient(parts), gradient([batch]))

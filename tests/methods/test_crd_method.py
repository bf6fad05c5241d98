from copy import deepcopy
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from child_processes import run_pair
from reference import contrastive as reference
from reference.relation import slope
from torch import Tensor, nn
from torch.testing import assert_close
from toys import random_batch, same_state, small_network, state

from understudy.distiller import Distiller
from understudy.engine.distributed import distribute, join, leave, share_buffers
from understudy.methods.base import Facts
from understudy.methods.crd import CRD, last_of_equal
from understudy.reach import gradient_norms
from understudy.teachers import Teacher
from understudy.types import Batch, Outputs

LAYER = "fc:input"
LABELS = torch.tensor([1, 0, 2, 1, 0, 2, 2, 1, 1, 0])


def made(seed: int = 0, **settings: object) -> CRD:
    chosen = {"num_negatives": 6, "width": 3, **settings}
    method = CRD(pairs=[(LAYER, LAYER)], **chosen)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    method.setup(Facts({LAYER: (4,)}, {LAYER: (5,)}, 3, LABELS))
    return method


def outputs(feature: Tensor) -> Outputs:
    return Outputs(torch.empty(0), {LAYER: feature})


def batch_at(*index: int) -> Batch:
    rows = torch.tensor(index)
    return Batch(torch.empty(len(rows), 0), LABELS[rows], rows, torch.full_like(rows, -1))


def random_features(num: int, *, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (num, 4), (num, 5)
    student, teacher = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return student, teacher


def embedded(layer: nn.Linear, features: reference.Array) -> reference.Array:
    return features @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def test_steps_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(temperature=0.2).double()
    chosen: list[Tensor] = []
    draw = method._chosen
    monkeypatch.setattr(method, "_chosen", lambda *rows: chosen.append(draw(*rows)) or chosen[-1])
    banks = method.bank_student.numpy(), method.bank_teacher.numpy()
    memory = reference.Memory(*banks, temperature=0.2, momentum=0.5)

    def paper(memory: reference.Memory, student: reference.Array, teacher: Tensor) -> float:
        ours, theirs = embedded(method.embed_student, student), embedded(method.embed_teacher, teacher.numpy())
        return memory.step(ours, theirs, chosen[-1].numpy())

    for step, index in enumerate([(3, 0, 9), (1, 3, 5)]):
        student, teacher = random_features(3, seed=step)
        student.requires_grad_()
        loss = method(outputs(student), outputs(teacher), batch_at(*index))["crd"]
        loss.backward()
        at = student.detach().numpy()
        before = deepcopy(memory)
        assert loss.item() == pytest.approx(paper(memory, at, teacher), rel=1e-9)
        # The normaliser is a constant of the first batch, not a function of the features.
        before.z = memory.z
        expected = slope(lambda moved, old=before, other=teacher: paper(deepcopy(old), moved, other), at)
        assert student.grad is not None
        assert_close(student.grad.numpy(), expected, rtol=1e-8, atol=1e-9)
        assert_close(method.bank_student.numpy(), memory.student, rtol=1e-12, atol=1e-12)
        assert_close(method.bank_teacher.numpy(), memory.teacher, rtol=1e-12, atol=1e-12)
        assert_close(method.log_z.exp().numpy(), np.array(memory.z), rtol=1e-10, atol=0)


@pytest.mark.parametrize("negatives", ["class", "instance"])
def test_negatives_are_other_classes_or_other_images(negatives: str) -> None:
    method = made(negatives=negatives, num_negatives=400)
    chosen = method._chosen(torch.arange(10), method.row)
    image = method.row.argsort()[chosen]
    assert torch.equal(image[:, 0], torch.arange(10))
    for own, row in enumerate(image[:, 1:]):
        others = [i for i in range(10) if (LABELS[i] != LABELS[own] if negatives == "class" else i != own)]
        assert row.unique().tolist() == others


def test_memory_changes_in_training_only_and_at_the_batch_only() -> None:
    method = made()
    student, teacher = (feature.float() for feature in random_features(2, seed=0))
    before = state(method)
    method.eval()
    waiting = method(outputs(student), outputs(teacher), batch_at(4, 7))["crd"]
    assert same_state(method, before)
    assert waiting.isfinite()
    method.train()
    method(outputs(student), outputs(teacher), batch_at(4, 7))
    for bank in ("bank_student", "bank_teacher"):
        moved = (getattr(method, bank) != before[bank]).any(1)
        assert sorted(method.row.argsort()[moved].tolist()) == [4, 7]
        assert_close(getattr(method, bank)[moved].norm(dim=1), torch.ones(2))


def test_the_normaliser_is_that_of_the_first_batch() -> None:
    method = made()
    method(*map(outputs, (f.float() for f in random_features(3, seed=0))), batch_at(0, 1, 2))
    first = method.log_z.clone()
    assert first.isfinite().all()
    method(*map(outputs, (f.float() for f in random_features(3, seed=1))), batch_at(0, 1, 2))
    assert torch.equal(method.log_z, first)


@pytest.mark.parametrize("kind", ["zero", "equal", "huge", "one"])
def test_extreme_features_stay_finite(kind: str) -> None:
    method = made()
    torch.nn.init.zeros_(method.embed_student.bias)
    torch.nn.init.zeros_(method.embed_teacher.bias)
    num = 1 if kind == "one" else 3
    student, teacher = (feature.float() for feature in random_features(num, seed=0))
    if kind in ("zero", "huge"):
        student, teacher = ((0 if kind == "zero" else 1e9) * feature for feature in (student, teacher))
    elif kind == "equal":
        student, teacher = student[:1].expand(3, -1).clone(), teacher[:1].expand(3, -1).clone()
    for _ in range(3):
        given = student.clone().requires_grad_()
        loss = method(outputs(given), outputs(teacher), batch_at(*range(num)))["crd"]
        loss.backward()
        assert loss.isfinite()
        assert given.grad is not None
        assert given.grad.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
        assert all(tensor.isfinite().all() for tensor in method.state_dict().values())


def whole(num_negatives: int = 6) -> tuple[Distiller, Teacher, Batch]:
    batch = random_batch(6)
    method = CRD(pairs=[(LAYER, LAYER)], num_negatives=num_negatives, width=3)
    teacher = Teacher(small_network(width=6, seed=1), taps=[LAYER])
    distiller = Distiller(small_network(seed=2), [method], label_weight=0.0)
    torch.manual_seed(0)
    distiller.setup(batch, teacher, labels=LABELS)
    return distiller, teacher, batch


def test_gradients_reach_student_and_embeddings_but_not_the_teacher() -> None:
    distiller, teacher, batch = whole()
    distiller(batch, teacher(batch)).loss.backward()
    for name, parameter in distiller.named_parameters():
        # The head is behind the feature.
        assert (parameter.grad is None) == name.startswith("student.model.fc"), name
    assert all(p.grad is None for p in teacher.parameters())
    assert distiller.methods[0].get_parameter("embed_teacher.weight").grad.abs().sum() > 0
    assert set(distiller.deploy().state_dict()) == set(small_network().state_dict())


def test_looking_at_gradients_leaves_the_memory_alone() -> None:
    distiller, teacher, batch = whole()
    before = state(distiller)
    assert gradient_norms(distiller, batch, teacher(batch))["crd"] > 0
    assert same_state(distiller, before)


def test_a_resumed_training_goes_on_bit_for_bit() -> None:
    def train(distiller: Distiller, steps: int) -> list[float]:
        optimizer = torch.optim.SGD(distiller.parameters(), lr=0.1)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = distiller(batch, targets).loss
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    straight, teacher, batch = whole()
    targets = teacher(batch)
    train(straight, 2)
    saved = BytesIO()
    torch.save([straight.state_dict(), torch.get_rng_state()], saved)
    expected = train(straight, 3)
    saved.seek(0)
    parameters, random = torch.load(saved, weights_only=True)
    resumed, _, _ = whole()
    resumed.load_state_dict(parameters)
    torch.set_rng_state(random)
    assert train(resumed, 3) == expected
    assert same_state(resumed, state(straight))
    # Without the memory it would be another training.
    assert any(name.endswith("bank_student") for name in parameters)


def test_it_learns_to_tell_images_apart() -> None:
    torch.manual_seed(0)
    method = made(num_negatives=32, width=8)
    student, teacher = (feature.float() for feature in random_features(10, seed=3))
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = method(outputs(student), outputs(teacher), batch_at(*range(10)))["crd"]
        loss.backward()
        optimizer.step()
    likeness = method.bank_student @ method.bank_teacher.T
    other_class = LABELS.sort().values[:, None] != LABELS.sort().values
    assert likeness.diagonal().mean() > likeness[other_class].mean() + 0.5


def test_what_is_missing_is_named() -> None:
    facts = Facts({LAYER: (4,)}, {LAYER: (5,)}, 3, torch.empty(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="labels=class ids of the training split"):
        CRD(pairs=[(LAYER, LAYER)]).setup(facts)
    with pytest.raises(ValueError, match="all images are of class 2"):
        CRD(pairs=[(LAYER, LAYER)]).setup(facts._replace(labels=torch.full((4,), 2)))
    CRD(pairs=[(LAYER, LAYER)], negatives="instance").setup(facts._replace(labels=torch.full((4,), 2)))
    with pytest.raises(ValueError, match="one pair of layers, got 2"):
        CRD(pairs=[(LAYER, LAYER), (LAYER, "fc")]).setup(facts._replace(labels=LABELS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"num_negatives": 0}, "at least 1"),
        ({"width": 0}, "at least 1"),
        ({"momentum": 1.0}, "momentum in"),
        ({"negatives": "all"}, "negatives must be class or instance"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CRD(**settings)  # type: ignore[arg-type]


def test_negatives_change_with_the_step_and_the_seed_only() -> None:
    method = made(num_negatives=50)
    index = torch.tensor([4, 1])
    first = method._chosen(index, method.row[index])
    torch.manual_seed(9)
    assert torch.equal(method._chosen(index.flip(0), method.row[index.flip(0)]), first.flip(0))
    method(*map(outputs, (f.float() for f in random_features(2, seed=0))), batch_at(4, 1))
    assert not torch.equal(method._chosen(index, method.row[index]), first)
    other = made(seed=1, num_negatives=50)
    assert not torch.equal(other._chosen(index, other.row[index]), first)


def test_of_an_image_twice_in_a_batch_the_last_view_is_remembered() -> None:
    """On a GPU chance would choose, and differently in each process."""
    student, teacher = (feature.float() for feature in random_features(3, seed=0))
    twice, once = made(), made()
    twice(outputs(student), outputs(teacher), batch_at(4, 7, 4))
    once(outputs(student[1:]), outputs(teacher[1:]), batch_at(7, 4))
    for bank in ("bank_student", "bank_teacher"):
        assert_close(getattr(twice, bank), getattr(once, bank))
    assert last_of_equal(torch.tensor([5, 2, 5, 2, 7])).tolist() == [2, 3, 2, 3, 4]


class Busy(nn.Module):
    """Both banks, in a module that has a parameter to be averaged and another buffer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.method = made(seed)
        self.register_buffer("other", torch.tensor(float(seed)))

    def forward(self, feature: Tensor) -> Tensor:
        return self.method.embed_student(feature).sum()


def pass_twice(out: Path) -> None:
    world = join()
    module = Busy(world.rank)
    model = distribute(module, world, torch.device("cpu"))
    start = module.method.bank_student.clone()
    module.method.bank_student.fill_(world.rank)
    module.other.fill_(world.rank)
    model(torch.ones(2, 4))
    share_buffers(module)
    torch.save((start, module.method.bank_student, module.other), out / f"{world.rank}.pt")
    leave()


def test_banks_start_equal_and_are_not_sent_around(tmp_path: Path) -> None:
    run_pair(pass_twice, tmp_path)
    (start, bank, other), (second_start, second_bank, second_other) = (
        torch.load(tmp_path / f"{rank}.pt") for rank in range(2)
    )
    assert torch.equal(start, second_start)
    assert torch.equal(start, made().bank_student)
    assert other == second_other == 0
    assert (bank == 0).all()
    assert (second_bank == 1).all()

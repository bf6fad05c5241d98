from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from toys import random_batch, same_state, small_network, state

from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.methods.kd import KD
from understudy.teachers import Teacher


def test_nothing_of_the_teacher_changes_while_a_student_trains() -> None:
    model = small_network(seed=1).train()
    teacher, distiller = Teacher(model), Distiller(small_network(), [KD()])
    before, student_before = state(model), state(distiller)
    parent = nn.ModuleList([teacher, distiller]).train()
    optimizer = torch.optim.SGD(parent.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for seed in range(3):
        batch = random_batch(seed=seed)
        optimizer.zero_grad()
        distiller(batch, teacher(batch)).loss.backward()
        optimizer.step()
    assert same_state(model, before)
    assert not same_state(distiller, student_before)
    # What the guard is for: in train mode the same batches move BatchNorm's buffers.
    unguarded = deepcopy(model).train()
    unguarded(random_batch().image)
    assert not same_state(unguarded, before)


def test_train_does_nothing() -> None:
    teacher = Teacher(small_network().train())
    assert teacher.train() is teacher
    assert teacher.train(True).eval() is teacher
    nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    image = random_batch()
    assert torch.equal(teacher(image).logits, teacher(image).logits)


def test_parameters_are_frozen() -> None:
    model = small_network()
    Teacher(model)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_targets_have_no_graph_but_may_enter_one() -> None:
    batch = random_batch()
    targets = Teacher(small_network(seed=1), taps=["conv"])(batch)
    assert list(targets.features) == ["conv"]
    for target in (targets.logits, targets.features["conv"]):
        assert not target.requires_grad
        assert target.grad_fn is None
        assert not target.is_inference()
    student = small_network()
    mse_loss(student(batch.image), targets.logits).backward()
    assert student.fc.weight.grad is not None


def test_unknown_tap_is_refused() -> None:
    with pytest.raises(UserError, match="no layer 'convv' in Sequential: did you mean 'conv'"):
        Teacher(small_network(), taps=["convv"])

"""The gap of a student's logits to its teacher's."""

import numpy as np
import pytest
import torch

from understudy.evaluation.logit_gap import logit_gap

GENERATOR = torch.Generator().manual_seed(0)
STUDENT, TEACHER = torch.randn(2, 31, 7, generator=GENERATOR)


def test_the_published_example() -> None:
    student, teacher = torch.tensor([[1.0, 2, 3], [0, 0, 0]]), torch.tensor([[3.0, 2, 1], [2, 0, -2]])
    assert logit_gap(student, teacher).plain == pytest.approx(4 / 3)


def test_the_gap_is_that_of_explicit_loops() -> None:
    ours, theirs = STUDENT.double().numpy(), TEACHER.double().numpy()
    plain, centred = [], []
    for own, other in zip(ours, theirs, strict=True):
        for place in range(7):
            plain.append(abs(other[place] - own[place]))
            centred.append(abs((other[place] - sum(other) / 7) - (own[place] - sum(own) / 7)))
    assert logit_gap(STUDENT, TEACHER) == pytest.approx((np.mean(plain), np.mean(centred)))


def test_only_the_plain_gap_sees_a_constant() -> None:
    found, shifted = logit_gap(STUDENT, TEACHER), logit_gap(STUDENT + 5, TEACHER)
    assert shifted.centred == pytest.approx(found.centred, abs=1e-6)
    assert shifted.plain > found.plain + 1


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="same images"):
        logit_gap(STUDENT[1:], TEACHER)

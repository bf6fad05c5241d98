import pytest
import torch
from reference import fidelity as reference

from understudy.evaluation.fidelity import fidelity
from understudy.evaluation.predictions import Predictions

STUDENT = torch.tensor([[1.0, 2, 3], [0, 0, 0]], dtype=torch.float64)
TEACHER = torch.tensor([[3.0, 2, 1], [2, 0, -2]], dtype=torch.float64)


def pair(num: int, num_classes: int, *, seed: int = 0) -> tuple[Predictions, Predictions]:
    generator = torch.Generator().manual_seed(seed)
    teacher, noise = torch.randn(2, num, num_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(num_classes, (num,), generator=generator)
    labels[::2] = teacher[::2].argmax(1)
    return Predictions(teacher + noise, labels), Predictions(teacher, labels)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("num", "num_classes"), [(200, 4), (31, 10), (3, 2)])
def test_everything_is_what_the_reference_says(num: int, num_classes: int, seed: int) -> None:
    student, teacher = pair(num, num_classes, seed=seed)
    found = fidelity(student, teacher)
    own, other = student.logits.numpy(), teacher.logits.numpy()
    assert found.agreement == pytest.approx(reference.agreement(own, other))
    assert found.kl == pytest.approx(reference.kl(own, other))
    assert found.gap == pytest.approx(reference.gap(own, other, centred=False))
    assert found.gap_centred == pytest.approx(reference.gap(own, other, centred=True))
    if found.teacher_errors:
        expected = reference.shared_errors(own, other, student.labels.tolist())
        assert (found.teacher_errors, found.shared_errors, found.shared_errors_expected) == pytest.approx(expected)


def test_golden_values() -> None:
    labels = torch.tensor([2, 0])
    found = fidelity(Predictions(STUDENT, labels), Predictions(TEACHER, labels))
    assert found.kl == pytest.approx(0.9039878049094, abs=1e-12)
    assert found.gap == pytest.approx(1.3333333333333, abs=1e-12)


def test_a_shift_of_each_row_changes_the_plain_gap_alone() -> None:
    student, teacher = pair(50, 5)
    shifted = teacher._replace(logits=teacher.logits + torch.arange(50)[:, None])
    before, after = fidelity(student, teacher), fidelity(student, shifted)
    assert after.gap > before.gap + 5
    assert after._replace(gap=0) == pytest.approx(before._replace(gap=0), abs=1e-9)


def test_order_of_the_images_does_not_matter_and_uneven_parts_do() -> None:
    student, teacher = pair(53, 5)
    order = torch.randperm(53, generator=torch.Generator().manual_seed(0))
    mixed = [Predictions(each.logits[order], each.labels[order]) for each in (student, teacher)]
    assert fidelity(*mixed) == pytest.approx(fidelity(student, teacher))
    places = torch.arange(53).split(20)
    parts = [[Predictions(each.logits[p], each.labels[p]) for each in (student, teacher)] for p in places]
    means = [fidelity(*part).gap for part in parts]
    # The last of three parts is smaller: the mean over parts is not that over images.
    assert sum(means) / 3 != pytest.approx(fidelity(student, teacher).gap)


def test_a_copy_of_the_teacher() -> None:
    _, teacher = pair(200, 5)
    found = fidelity(teacher, teacher)
    assert (found.agreement, found.kl, found.gap, found.shared_errors) == (1, 0, 0, 1)
    assert found.shared_errors_expected is not None
    assert found.shared_errors_expected < 0.5


def test_errors_that_do_not_depend_on_each_other_are_shared_as_expected() -> None:
    """Both call a third of the images something else, independently."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (40_000,), generator=generator)

    def answers() -> Predictions:
        moved = torch.rand(40_000, generator=generator) < 1 / 3
        other = (labels + torch.randint(1, 4, (40_000,), generator=generator)) % 4
        return Predictions(torch.eye(4)[torch.where(moved, other, labels)], labels)

    found = fidelity(answers(), answers())
    assert found.shared_errors == pytest.approx(1 / 9, abs=0.01)
    assert found.shared_errors_expected == pytest.approx(1 / 9, abs=0.01)


def test_a_teacher_without_errors_has_none_to_share() -> None:
    labels = torch.arange(3)
    found = fidelity(Predictions(torch.randn(3, 3), labels), Predictions(torch.eye(3), labels))
    assert (found.teacher_errors, found.shared_errors, found.shared_errors_expected) == (0, None, None)


def test_other_images_are_refused() -> None:
    student, teacher = pair(20, 3)
    with pytest.raises(ValueError, match="same images"):
        fidelity(student, teacher._replace(labels=teacher.labels.roll(1)))
    with pytest.raises(ValueError, match=r"\(20, 3\) and \(20, 2\)"):
        fidelity(student, teacher._replace(logits=teacher.logits[:, :2]))

import pytest
import torch
from torch import Tensor

from understudy.losses.logit import kd_loss
from understudy.losses.multi_level import TEMPERATURES, multi_level_losses


def random_logits(num: int, num_classes: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(num, num_classes, generator=generator, dtype=torch.float64)


STUDENT, TEACHER = random_logits(6, 5, seed=0), random_logits(6, 5, seed=1)


def test_instance_is_distillation_at_every_temperature() -> None:
    expected = sum(kd_loss(STUDENT, TEACHER, temperature).item() for temperature in (2.0, 3.0, 4.0, 5.0, 6.0))
    assert multi_level_losses(STUDENT, TEACHER).instance.item() == pytest.approx(expected, rel=1e-12)


def test_temperatures_add_up() -> None:
    together = multi_level_losses(STUDENT, TEACHER, (1.0, 4.0))
    alone = [multi_level_losses(STUDENT, TEACHER, [temperature]) for temperature in (1.0, 4.0)]
    for part, first, second in zip(together, *alone, strict=True):
        assert part.item() == pytest.approx(first.item() + second.item(), rel=1e-12)


def test_parts_by_hand() -> None:
    # Probabilities (1/2, 1/2) against (3/4, 1/4) for two images alike.
    student = torch.zeros(2, 2, dtype=torch.float64)
    teacher = torch.tensor([[3.0, 1.0], [3.0, 1.0]], dtype=torch.float64).log()
    losses = multi_level_losses(student, teacher, [1.0])
    # Images: products 5/8 against 1/2 in all four places, over a batch of 2.
    assert losses.batch.item() == pytest.approx(4 * (5 / 8 - 1 / 2) ** 2 / 2)
    # Classes: 2 x (9/16, 3/16, 3/16, 1/16) against 2 x 1/4, over 2 classes.
    squares = [2 * number - 1 / 2 for number in (9 / 16, 3 / 16, 3 / 16, 1 / 16)]
    assert losses.classes.item() == pytest.approx(sum(square**2 for square in squares) / 2)


def test_batch_asks_only_which_images_are_alike() -> None:
    # Renaming the teacher's classes leaves the products of images as they are.
    losses = multi_level_losses(TEACHER[:, [4, 2, 0, 1, 3]], TEACHER)
    assert losses.batch.item() == pytest.approx(0, abs=1e-12)
    assert losses.classes.item() > 1e-2
    assert losses.instance.item() > 1e-2


def test_classes_asks_only_which_classes_go_together() -> None:
    losses = multi_level_losses(TEACHER[[5, 3, 0, 1, 2, 4]], TEACHER)
    assert losses.classes.item() == pytest.approx(0, abs=1e-12)
    assert losses.batch.item() > 1e-2
    assert losses.instance.item() > 1e-2


def test_the_order_of_temperatures_does_not_matter_and_the_default_is_two_to_six() -> None:
    assert TEMPERATURES == (2, 3, 4, 5, 6)
    found = multi_level_losses(STUDENT, TEACHER, torch.tensor([6.0, 2.0, 5.0, 4.0, 3.0]))
    for part, expected in zip(found, multi_level_losses(STUDENT, TEACHER), strict=True):
        assert part.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("temperatures", [(), torch.tensor(4.0), torch.ones(2, 2)])
def test_temperatures_must_be_a_row_of_numbers(temperatures: Tensor | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="temperatures must be one or more numbers, got shape"):
        multi_level_losses(STUDENT, TEACHER, temperatures)

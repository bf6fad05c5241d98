import pytest
import torch

from understudy.data import load_data, make_loader
from understudy.data.sampling import Sampling, image_weights
from understudy.errors import UserError

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
CLASSES = ("ant", "bee", "cow")


def drawn(sampling: Sampling, epochs: int = 20) -> torch.Tensor:
    """Share of each class among all images of some epochs."""
    data = load_data("digits")
    weights = image_weights(sampling, data.train.labels, data.classes)
    loader = make_loader(
        data.train, batch_size=50, size=8, seed=3, train=True, device=torch.device("cpu"), weights=weights
    )
    labels = torch.cat([batch.label for epoch in range(epochs) for batch in loader.batches(epoch)])
    return torch.bincount(labels, minlength=10) / len(labels)


def test_uniform_is_every_image_once() -> None:
    assert image_weights("uniform", LABELS, CLASSES) is None


def test_balanced_gives_every_class_the_same_share() -> None:
    weights = image_weights("balanced", LABELS, CLASSES)
    assert weights is not None
    shares = [weights[label == LABELS].sum().item() for label in range(3)]
    assert shares == pytest.approx([1 / 3] * 3)
    assert (drawn("balanced") - 0.1).abs().max() < 0.02


def test_one_class_far_more_often_than_the_others() -> None:
    # The unbalanced sampler of the mutual-learning study: .9 against .01 each, that is .909 of class 0.
    shares = drawn({"0": 0.9 / 0.99})
    assert shares[0] == pytest.approx(0.909, abs=0.02)
    assert (shares[1:] - 0.0101).abs().max() < 0.01


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    data = load_data("digits")
    weights = image_weights("balanced", data.train.labels, data.classes)

    def indices(seed: int, epoch: int, start: int = 0) -> torch.Tensor:
        loader = make_loader(
            data.train, batch_size=50, size=8, seed=seed, train=True, device=torch.device("cpu"), weights=weights
        )
        return torch.cat([batch.index for batch in loader.batches(epoch, start)])

    assert torch.equal(indices(0, 1), indices(0, 1))
    assert torch.equal(indices(0, 1)[100:], indices(0, 1, start=2))
    assert not torch.equal(indices(0, 1), indices(0, 2))
    assert not torch.equal(indices(0, 1), indices(1, 1))


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ("balancd", "data.sampling=balancd is unknown"),
        ({"bea": 0.5}, "did you mean 'bee'"),
        ({"bee": 0.7, "ant": 0.4}, "at most 1 together"),
        ({"bee": -0.1}, "0 or more"),
    ],
)
def test_wrong_sampling_is_one_line(sampling: Sampling, message: str) -> None:
    with pytest.raises(UserError, match=message):
        image_weights(sampling, LABELS, CLASSES)

import pytest
import torch

from understudy.config import parse_override
from understudy.data import load_data, make_loader
from understudy.data.sampling import Sampling, image_weights
from understudy.errors import UserError
from understudy.experiments.assemble import assemble
from understudy.experiments.settings import resolve

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
        ({"ant": 0.5, "bee": 0.2, "cow": 0.1}, "are 0.8 together and no class is left"),
    ],
)
def test_wrong_sampling_is_one_line(sampling: Sampling, message: str) -> None:
    with pytest.raises(UserError, match=message):
        image_weights(sampling, LABELS, CLASSES)


def test_classes_without_images_get_no_share() -> None:
    labels = torch.tensor([0] * 6 + [2] * 2)
    for sampling, expected in (("balanced", 0.5), ({"ant": 0.9}, 0.1)):
        weights = image_weights(sampling, labels, CLASSES)
        assert weights is not None
        assert weights[labels == 2].sum().item() == pytest.approx(expected)
        assert weights.sum().item() == pytest.approx(1)
    with pytest.raises(UserError, match=r"gives 'bee' a share of .*, but no training image shows it"):
        image_weights({"bee": 0.5}, labels, CLASSES)


@pytest.mark.parametrize("setting", ["balanced", "{0: 0.909}", '{"0": 0.909}'])
def test_a_run_samples_its_training_split_and_evaluates_everything_in_order(setting: str) -> None:
    """Class 0 of the digits is drawn as often as was asked for; validation and test are what they were."""
    chosen = [("data", "digits"), ("model", "cnn-xs"), ("device", "cpu")]
    plain, made = (
        assemble(resolve("train", [], [*chosen, *more])) for more in ([], [parse_override(f"data.sampling={setting}")])
    )
    labels = [batch.label for epoch in range(10) for batch in made.train_loader().batches(epoch)]
    share = (torch.cat([part for part in labels if part is not None]) == 0).double().mean().item()
    assert share == pytest.approx(0.1 if setting == "balanced" else 0.909, abs=0.02)
    for split in ("val", "test"):
        pairs = list(zip(plain.batches(split), made.batches(split), strict=True))
        assert all(torch.equal(one.index, other.index) and torch.equal(one.image, other.image) for one, other in pairs)
        assert torch.equal(torch.cat([other.index for _, other in pairs]), torch.arange(len(made.split(split))))

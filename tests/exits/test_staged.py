"""Networks cut into stages, and images that leave on their way."""

from itertools import accumulate

import pytest
import torch
from branched_toys import branched, classifier, images
from torch import Tensor, nn

from understudy.classifier import Classifier
from understudy.errors import UserError
from understudy.evaluation.cost import count_bytes, count_macs, count_parameters
from understudy.exits import Policy, add_exits, predict, predict_all, run_stages, split_stages
from understudy.exits.cuts import CannotSplitError, split
from understudy.exits.staged import Staged
from understudy.models import create_model
from understudy.testing import small_network

OURS = ("resnet20", "resnet8x4", "wrn-16-2", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2", "cnn5", "cnn-s")
THEIRS = {
    "resnet18": 32,
    "resnet50": 32,
    "mobilenet_v3_small": 32,
    "squeezenet1_1": 64,
    "vit_b_16": 32,
    "efficientnet_b0": 32,
    "densenet121": 32,
}
QUANTILES = ((0, 0.4), (1, 0.6))
SLOW = ("vit_b_16", "efficientnet_b0", "densenet121", "resnet50")


def check_equal_to_the_whole(name: str, size: int, settings: dict[str, int] | None = None) -> None:
    torch.manual_seed(0)
    model = create_model(name, classes=5, settings=settings).eval()
    given = images(3, size=size)
    with torch.no_grad():
        whole = model(given)
    notes = add_exits(model, given, exits="auto", heads="linear")
    assert not any("save nothing" in note for note in notes)
    staged = split_stages(model, given)
    never = Policy.of("entropy", [float("-inf")] * len(staged.branches.heads))
    found = predict(staged, given, never)
    assert torch.equal(found.logits, whole)
    assert sum(staged.stage_macs) == count_macs(model, given[:1])
    assert found.macs.tolist() == [sum(staged.stage_macs)] * 3
    check_sizes(staged, model)
    assert torch.equal(predict(staged, given, never, dial=0).logits, predict_all(model, given)[0])


def check_sizes(staged: Staged, model: Classifier) -> None:
    """The last exit needs the whole network; each one its own stage and head more than the one before."""
    assert staged.sizes[-1] == (count_parameters(model), count_bytes(model))
    added = [count_parameters(stage) for stage in staged.stages]
    added = [stage + count_parameters(head) for stage, head in zip(added, staged.branches.heads, strict=False)]
    assert [size.parameters for size in staged.sizes[:-1]] == list(accumulate(added))


@pytest.mark.parametrize("name", OURS)
def test_stages_of_our_families_are_the_whole(name: str) -> None:
    check_equal_to_the_whole(name, 64 if name == "cnn5" else 32)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in THEIRS]
)
def test_stages_of_torchvision_are_the_whole(name: str) -> None:
    size = THEIRS[name]
    check_equal_to_the_whole(f"torchvision:{name}", size, {"image_size": size} if name == "vit_b_16" else None)


def test_a_later_stage_runs_no_layer_of_an_earlier_one() -> None:
    model = branched()
    staged = split_stages(model, images())
    ran: list[str] = []
    for name, module in model.network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    predict(staged, images(), Policy.of("entropy", (9.0, 9.0)))
    assert ran
    assert all(name.startswith(("conv1", "layer1", "exits.heads.0")) for name in ran)


def test_stages_follow_later_training_and_leave_modes_alone() -> None:
    model = branched().train()
    model.network.layer1.eval()
    staged = split_stages(model, images())
    with torch.no_grad():
        model.network.fc.weight.mul_(2)
    never = Policy.of("entropy", (1.0, 1.0))
    found = predict(staged, images(), never, dial=float("inf")).logits
    assert model.network.layer2.training
    assert not model.network.layer1.training
    assert torch.equal(found, model.eval()(images()))


@pytest.mark.parametrize("score", ["entropy", "max-probability", "margin", "energy"])
def test_a_batch_is_its_images_one_by_one(score: str) -> None:
    model = branched()
    given = images(16, seed=3)
    staged = split_stages(model, given)
    every = predict_all(model, given)
    policy = Policy.of(score, [Policy.of(score, [0.0, 0.0]).doubts(every)[i].quantile(q).item() for i, q in QUANTILES])
    found = predict(staged, given, policy)
    alone = [predict(staged, image[None], policy) for image in given]
    assert found.exit.tolist() == [int(one.exit) for one in alone]
    assert set(found.exit.tolist()) == {0, 1, 2}
    torch.testing.assert_close(found.logits, torch.cat([one.logits for one in alone]), rtol=1e-5, atol=1e-6)
    assert torch.equal(found.macs, torch.cat([one.macs for one in alone]))
    assert torch.equal(found.exit, policy.exit_taken(every))
    expected = every.gather(0, found.exit[None, :, None].expand(1, -1, 5))[0]
    torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-6)


def test_many_images_go_in_parts() -> None:
    model, given = branched(), images(50, seed=2)
    staged, every = split_stages(model, given[:2]), predict_all(model, given)
    policy = Policy.of("entropy", Policy.of("entropy", [0.0, 0.0]).doubts(every).median(1).values.tolist())
    sizes: list[int] = []
    staged.stages[0].register_forward_hook(lambda *seen: sizes.append(len(seen[-1])))
    found = predict(staged, given, policy)
    assert sizes == [13, 13, 12, 12]
    expected = every.gather(0, found.exit[None, :, None].expand(1, -1, 5))[0]
    torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_images_that_are_left_keep_their_layout(layout: torch.memory_format) -> None:
    model, given = branched(), images(16, seed=3)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    staged = split_stages(model, given)
    seen: list[Tensor] = []
    staged.stages[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = run_stages(staged, given, lambda number, logits: torch.arange(len(logits)) % 3 != 1)
    assert [len(feature) for feature in seen] == [5]
    assert seen[0].is_contiguous(memory_format=layout)
    assert found.exit.tolist() == [0, 1, 0, 0, 2, 0, 0, 1, 0, 0, 1, 0, 0, 2, 0, 0]
    expected = predict_all(model, given).gather(0, found.exit[None, :, None].expand(1, -1, 5))[0]
    torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-6)


def test_the_dial_goes_from_the_first_exit_to_the_last() -> None:
    model = branched()
    staged, policy = split_stages(model, images()), Policy.of("entropy", (1.0, 1.0))
    assert predict(staged, images(), policy, dial=0).exit.tolist() == [0] * 6
    assert predict(staged, images(), policy, dial=float("inf")).exit.tolist() == [2] * 6


def test_what_is_spent_counts_the_heads_that_ran() -> None:
    staged = split_stages(branched(), images())
    inf = float("inf")
    first = predict(staged, images(), Policy.of("entropy", (inf, inf)))
    second = predict(staged, images(), Policy.of("entropy", (-inf, inf)))
    last = predict(staged, images(), Policy.of("entropy", (0.0, -inf)))
    assert set(first.macs.tolist()) == {staged.macs[0]}
    assert set(second.macs.tolist()) == {staged.macs[1] - staged.head_macs[0]}
    assert set(last.macs.tolist()) == {staged.macs[2] - staged.head_macs[1]}


def test_a_decision_of_ones_own() -> None:
    staged = split_stages(branched(), images())
    found = run_stages(staged, images(), lambda number, logits: torch.arange(len(logits)) % 2 == 0)
    assert found.exit.tolist() == [0, 1, 0, 2, 0, 1]


def test_the_number_of_thresholds_must_fit() -> None:
    with pytest.raises(UserError, match="1 thresholds for 2 early exits"):
        predict(branched(), images(), Policy.of("entropy", (1.0,)))


def test_a_layer_inside_a_residual_block_is_no_cut() -> None:
    with pytest.raises(CannotSplitError, match="needs more than its output"):
        split(small_network((4, 6, 8)), ["layer2.0.conv1"])
    model = classifier()
    notes = add_exits(model, images(), exits=["layer2.0.conv1"], heads="linear")
    assert "save nothing" in notes[-1]
    assert predict_all(model.eval(), images()).shape == (2, 6, 5)
    with pytest.raises(UserError, match="cannot be left out"):
        predict(model, images(), Policy.of("entropy", (1.0,)))


class Undecided(nn.Module):
    """Code that asks for the values of an image."""

    def __init__(self, *, by_mean: bool) -> None:
        super().__init__()
        self.first, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.by_mean = by_mean

    def forward(self, image: Tensor) -> Tensor:
        feature = self.first(image)
        if self.by_mean and feature.mean() > 9:
            feature = -feature
        return self.fc(feature.mean((2, 3)))


def test_code_that_cannot_be_followed_trains_and_says_so() -> None:
    notes = add_exits(classifier(Undecided(by_mean=True)), images(), exits=["first"], heads="linear")
    assert "cannot be followed" in notes[-1]
    notes = add_exits(classifier(Undecided(by_mean=False)), images(), exits=["first"], heads="linear")
    assert "cannot be followed" not in notes[-1]


class Parametric(nn.Module):
    """Two stages that use one parameter, and a size that the whole batch shares."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((4, 1, 1), 2.0))
        self.first, self.second, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 5)

    def forward(self, image: Tensor) -> Tensor:
        scale = self.scale.exp()
        feature = self.second(self.first(image) * scale) * scale
        return self.fc(feature.mean((2, 3)))


class Optional(nn.Module):
    """A second input that nobody gives."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        feature = self.first(image)
        return self.fc((feature if mask is None else feature * mask).mean((2, 3)))


def test_what_else_a_network_could_be_given_is_left_out() -> None:
    network = Optional()
    first, last = split(network, ["first"])
    assert torch.equal(last(first(images())), network(images()))


def test_parameters_may_be_used_on_both_sides_of_a_cut() -> None:
    model = classifier(Parametric()).eval()
    assert not any("save nothing" in note for note in add_exits(model, images(), exits=["first"], heads="linear"))
    never = Policy.of("entropy", [float("-inf")])
    assert torch.equal(predict(model, images(), never).logits, model(images()).detach())

"""Exits beside a network: where they stand, what stays as it was, what a saved file knows."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from branched_toys import branched, classifier, images
from torch import nn

from understudy.branches import HEADS, Branches, Place, branches_of, make_head
from understudy.classifier import Classifier
from understudy.errors import UserError
from understudy.exits import add_exits, choose_points, predict_all
from understudy.models import create_model, head_of, load_model, save_model
from understudy.taps import EXITS, Tapped

PLACE = Place((6, 8, 8), (10, 4, 4), 5)


def points_of(model: Classifier) -> tuple[str, ...]:
    found = branches_of(model.network)
    assert isinstance(found, Branches)
    return found.points


def test_layers_come_in_order_of_depth_whatever_the_order_of_their_names() -> None:
    model = classifier()
    notes = add_exits(model, images(), exits=["layer2", "layer1"])
    assert points_of(model) == ("layer1", "layer2")
    assert "layer1 (" in notes[0]
    assert len(notes) == 1


def test_the_network_itself_stays_what_it_was() -> None:
    model = classifier().eval()
    keys, logits = list(model.network.state_dict()), model(images())
    head = head_of(model.network)
    add_exits(model, images(), exits="auto")
    now = list(model.network.state_dict())
    assert now[: len(keys)] == keys
    assert all(key.startswith("exits.") for key in now[len(keys) :])
    assert torch.equal(model(images()), logits)
    assert head_of(model.network) == head
    published = {key: torch.ones_like(value) for key, value in classifier().network.state_dict().items()}
    missing = model.network.load_state_dict(published, strict=False)
    assert not missing.unexpected_keys


@pytest.mark.parametrize(
    ("exits", "words"),
    [
        (["layer7"], "no layer 'layer7' for an exit: the stages end at layer1, layer2"),
        (["layer1", "layer1"], "twice"),
        (["fc"], "makes the logits"),
        ([], "empty"),
        (40, "student.exits=40, but the places that divide"),
        (0, "student.exits=0"),
    ],
)
def test_wrong_places_are_refused(exits: list[str] | int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        add_exits(classifier(), images(), exits=exits)


def test_a_network_gets_its_exits_once() -> None:
    with pytest.raises(UserError, match="already"):
        add_exits(branched(), images(), exits=1)


def test_automatic_places_divide_the_cost() -> None:
    model = create_model("resnet56", classes=5).eval()
    found = choose_points(model, images(2), 3)
    assert [point.share for point in found] == pytest.approx([0.25, 0.5, 0.75], abs=0.06)
    assert [point.layer for point in choose_points(model, images(2), "auto")] == ["layer1", "layer2"]


def test_no_exit_stands_where_it_saves_nothing() -> None:
    """The second block of cnn-s ends at 99.9 % of the cost, right before the classifier."""
    model = create_model("cnn-s", classes=10, channels=1).eval()
    image = torch.rand(2, 1, 8, 8)
    assert [point.layer for point in choose_points(model, image, "auto")] == ["layer1"]
    with pytest.raises(UserError, match=r"student\.exits=2, but .* layer1 at 3%: ask for 1, or name layers"):
        choose_points(model, image, 2)
    # Who names it gets it.
    assert choose_points(model, image, ["layer2"])[0].share > 0.99


@pytest.mark.parametrize("name", HEADS.names())
@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 1, 1), (6, 7, 5)])
def test_every_head_takes_maps_of_any_size(name: str, shape: tuple[int, int, int]) -> None:
    head = make_head(name, PLACE._replace(shape=shape, deepest=(10, 1, 1) if shape[1] == 1 else (10, 4, 4)), {})
    logits = head(torch.rand(3, *shape))
    assert logits.shape == (3, 5)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_the_seed_heads_have_the_published_layers() -> None:
    def widths(name: str) -> list[int]:
        layers = [layer for layer in make_head(name, PLACE, {}).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        return [layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features for layer in layers]

    assert widths("conv1") == [64, 64, 256, 1024, 512, 5]
    assert widths("distill") == [128, 128, 512, 1024, 512, 5]


def test_a_bottleneck_ends_as_wide_as_the_deepest_exit() -> None:
    linear = [module for module in make_head("bottleneck", PLACE, {}).modules() if isinstance(module, nn.Linear)]
    assert linear[-1].in_features == 10


def test_each_exit_may_have_its_own_head() -> None:
    model = branched(heads=["linear", {"name": "bottleneck", "reduction": 2}])
    found = branches_of(model.network)
    assert found is not None
    assert sum(p.numel() for p in found.heads[0].parameters()) == 4 * 5 + 5
    assert model.changes[0].settings["heads"] == [{"name": "linear"}, {"name": "bottleneck", "reduction": 2}]


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        ("botleneck", "did you mean 'bottleneck'"),
        ({"name": "bottleneck", "reductoin": 2}, "reduction"),
        ({"reduction": 2}, "has no name"),
        (["linear"] * 3, "3 heads for 2 exits"),
    ],
)
def test_wrong_heads_are_refused(heads: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        branched(heads=heads)


def test_a_head_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "heads.py"
    file.write_text(
        "from torch import nn\n"
        "def small(*, shape, deepest, num_classes, drop=0.0):\n"
        "    pool = nn.AdaptiveMaxPool2d(1)\n"
        "    return nn.Sequential(pool, nn.Flatten(), nn.Dropout(drop), nn.Linear(shape[0], num_classes))\n"
        "def wrong(**place):\n"
        "    return nn.ReLU()\n"
    )
    model = branched(heads={"name": f"{file}:small", "drop": 0.1})
    assert predict_all(model, images()).shape == (3, 6, 5)
    with pytest.raises(UserError, match="not a module with a linear layer"):
        branched(heads=f"{file}:wrong")


def test_a_saved_file_is_loaded_with_its_exits(tmp_path: Path) -> None:
    model = create_model("resnet8", classes=5).eval()
    add_exits(model, images(), exits=["layer2"], heads="separable")
    save_model(model, tmp_path / "student.safetensors")
    loaded = load_model(tmp_path / "student.safetensors")
    assert points_of(loaded) == ("layer2",)
    assert torch.equal(predict_all(loaded, images()), predict_all(model, images()))


def test_exits_of_a_sequential_do_not_become_its_layers() -> None:
    def part(channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU())

    network = nn.Sequential(part(3), part(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    model = classifier(network).eval()
    logits = model(images())
    add_exits(model, images(), exits=["0"], heads="linear")
    assert torch.equal(model(images()), logits)
    assert torch.equal(predict_all(model, images())[-1], logits)


def test_a_copy_answers_with_its_own_heads() -> None:
    model = branched()
    tapped = Tapped(model, [EXITS])
    copy = deepcopy(tapped)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    assert not copy(images()).exits[0].any()
    assert tapped(images()).exits[0].any()


def test_exits_are_read_only_when_asked() -> None:
    assert Tapped(branched())(images()).exits == ()
    with pytest.raises(UserError, match=r"set student\.exits=auto"):
        Tapped(classifier(), [EXITS])


def test_an_expensive_head_is_warned_of() -> None:
    notes = add_exits(classifier(), images(), exits=["layer1"], heads={"name": "conv1"})
    assert "costs" in notes[-1]
    assert "linear or separable" in notes[-1]

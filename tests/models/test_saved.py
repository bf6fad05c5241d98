import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from understudy.classifier import Change, Classifier, InputSpec
from understudy.errors import UserError
from understudy.models import CHANGES, create_model, load_model, load_weights, note_change, save_model
from understudy.models.saved import read_header


@pytest.fixture
def model(build: Callable[..., nn.Module]) -> Classifier:
    spec = InputSpec(size=(12, 10), channels=1, mean=(0.3,), std=(0.2,))
    settings = {"width": 5}
    network = build("cnn-xs", num_classes=2, in_channels=1, **settings)
    return Classifier(network, spec=spec, classes=["cat", "dog"], name="cnn-xs", settings=settings)


def test_round_trip(model: Classifier, tmp_path: Path) -> None:
    save_model(model, tmp_path / "student.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["student.safetensors"]
    image = torch.rand(4, 1, 8, 8)
    for path in (tmp_path, tmp_path / "student.safetensors"):
        loaded = load_model(path)
        assert not loaded.training
        assert (loaded.name, loaded.settings, loaded.classes) == ("cnn-xs", {"width": 5}, ("cat", "dog"))
        assert loaded.spec == model.spec
        assert torch.equal(loaded(image), model(image))


def test_metadata_describes_the_model(model: Classifier, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        description = json.loads(file.metadata()["understudy"])
        assert set(file.keys()) == set(model.network.state_dict())
    assert (description["version"], description["changes"]) == (2, [])
    assert description["num_parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_channels_last_weights_are_saved(model: Classifier, tmp_path: Path) -> None:
    save_model(model.to(memory_format=torch.channels_last), tmp_path / "m.safetensors")
    image = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(load_model(tmp_path / "m.safetensors")(image), model(image))


def test_saved_file_is_an_ordinary_checkpoint(model: Classifier, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m.safetensors")
    fresh = create_model("cnn-xs", classes=2, channels=1, settings={"width": 5})
    assert load_weights(fresh.network, tmp_path / "m.safetensors") == []


@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:shufflenet_v2_x0_5"])
def test_other_libraries_load_without_download(name: str, tmp_path: Path) -> None:
    model = create_model(name, classes=3).eval()
    save_model(model, tmp_path / "m.safetensors")
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(load_model(tmp_path / "m.safetensors")(image), model(image))


def test_interrupted_save_leaves_the_old_file(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    save_model(model, path)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(create_model("cnn-s", classes=2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_foreign_and_future_files(model: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(model, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="is damaged"):
        load_model(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="was not saved by understudy"):
        load_model(path)
    save_file({"weight": torch.zeros(2)}, path, {"understudy": '{"version": 3}'})
    with pytest.raises(UserError, match="has format 3, not 2 or below"):
        load_model(path)
    save_file({"weight": torch.zeros(2)}, path, {"understudy": '{"version": 1}'})
    with pytest.raises(UserError, match="is damaged: its description"):
        load_model(path)
    with pytest.raises(UserError, match="no saved model"):
        load_model(tmp_path)


def test_network_built_in_python_says_how_to_load_it(model: Classifier, tmp_path: Path) -> None:
    save_model(Classifier(model.network, spec=model.spec, classes=model.classes), tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=r"build it again and use load_model\(path, network=...\)"):
        load_model(tmp_path / "m.safetensors")
    fresh = create_model("cnn-xs", classes=2, channels=1, settings={"width": 5}).network
    image = torch.rand(4, 1, 8, 8)
    loaded = load_model(tmp_path / "m.safetensors", network=fresh)
    assert loaded.network is fresh
    assert torch.equal(loaded(image), model(image))
    with pytest.raises(UserError, match="does not fit the network"):
        load_model(tmp_path / "m.safetensors", network=nn.Linear(2, 2))


def test_files_of_version_1_know_no_changes(model: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(model, path)
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["understudy"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
    del description["changes"]
    save_file(tensors, path, {"understudy": json.dumps({**description, "version": 1})})
    image = torch.rand(4, 1, 8, 8)
    loaded = load_model(path)
    assert loaded.changes == ()
    assert torch.equal(loaded(image), model(image))


@pytest.fixture
def widen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A change of the head that is known for the length of a test."""

    def repeat(network: nn.Module, *, layer: str, outputs: int) -> None:
        network.set_submodule(layer, nn.Sequential(network.get_submodule(layer), nn.Linear(2, outputs)))

    monkeypatch.setitem(CHANGES._entries, "widen", repeat)
    return repeat


def test_changes_are_repeated_in_their_order(model: Classifier, widen: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for layer in ("fc", "fc.1"):
        settings = {"layer": layer, "outputs": 2}
        widen(model.network, **settings)
        note_change(model, Change("widen", settings))
    save_model(model, path)
    loaded = load_model(path)
    image = torch.rand(4, 1, 8, 8)
    assert torch.equal(loaded(image), model(image))
    save_model(loaded, path)
    assert torch.equal(load_model(path)(image), model(image))
    assert loaded.changes == model.changes == read_header(path).changes


def test_changes_that_cannot_be_repeated(model: Classifier, widen: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for change, message in (
        (Change("wider", {}), "unknown change 'wider'"),
        (Change("widen", {"layer": "nowhere", "outputs": 2}), "does not fit the network.*nowhere"),
        (Change("widen", {}), "does not fit the network"),
    ):
        model.changes = (change,)
        save_model(model, path)
        with pytest.raises(UserError, match=message):
            load_model(path)

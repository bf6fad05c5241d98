import logging
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from torch import nn

from understudy.classifier import IMAGENET_MEAN, IMAGENET_STD
from understudy.errors import UserError
from understudy.models import count_parameters, create_model, default_size, head_of, load_model, save_model


def test_number_of_classes_names_them() -> None:
    model = create_model("cnn-xs", classes=3, channels=1, settings={"width": 4})
    assert model.classes == ("0", "1", "2")
    assert (model.name, model.settings) == ("cnn-xs", {"width": 4})
    assert (model.spec.mean, model.spec.std, model.spec.size) == ((0.5,), (0.5,), None)
    assert model(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 3)


def test_given_preprocessing_is_used() -> None:
    model = create_model("cnn-s", classes=["a", "b"], size=(16, 16), mean=[0.1, 0.2, 0.3], std=[0.4])
    assert (model.spec.size, model.spec.mean, model.spec.std) == ((16, 16), (0.1, 0.2, 0.3), (0.4, 0.4, 0.4))


def test_colour_defaults_to_imagenet_statistics() -> None:
    assert create_model("cnn-s", classes=2).spec.mean == IMAGENET_MEAN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet21"}, "unknown model 'resnet21': did you mean 'resnet"),
        ({"name": "resnet18"}, "did you mean 'torchvision:resnet18'"),
        ({"name": "torchvision:resnet19"}, "no classifier 'resnet19': did you mean 'resnet18'"),
        ({"name": "timm:resnet18x"}, "timm has no model 'resnet18x': did you mean"),
        ({"name": "missing.py:net"}, "no such file 'missing.py': write"),
        ({"name": "runs/missing"}, "no such run directory or file 'runs/missing'"),
        ({"name": __file__}, "is no saved model: name the model and give the file as weights"),
        ({"name": "missing.safetensors"}, "no saved model 'missing.safetensors'"),
        ({"settings": {"widthh": 4}}, "no setting 'widthh': did you mean 'width'"),
        ({"name": "torchvision:resnet18", "settings": {"widthh": 4}}, "cannot build 'torchvision:resnet18'.*widthh"),
        ({"name": "timm:resnet18", "settings": {"widthh": 4}}, "cannot build 'timm:resnet18'.*widthh"),
        ({"classes": ["one"]}, "two classes or more, not 1"),
        ({"channels": 4}, "1 or 3 channels, not 4"),
        ({"mean": [0.5, 0.5]}, "one value or 3, not"),
        ({"pretrained": True}, "'cnn-xs' has no published weights"),
        ({"name": "cnn-xs[pretrained]"}, "'cnn-xs' has no published weights"),
        ({"name": "torchvision:vit_b_16", "size": (64, 64), "settings": {"image_size": 32}}, "32x32 only, not 64x64"),
    ],
)
def test_bad_input_is_one_line(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        create_model(**{"name": "cnn-xs", "classes": 2, **arguments})
    assert "\n" not in str(caught.value)


def test_default_sizes() -> None:
    assert default_size("cnn-xs") == 8
    assert default_size("torchvision:resnet18") == 224
    assert default_size("timm:test_vit") == 160


@pytest.mark.parametrize(("name", "num_parameters"), [("resnet18", 11_177_538), ("resnet50", 23_512_130)])
def test_torchvision_parameter_counts(name: str, num_parameters: int) -> None:
    with torch.device("meta"):
        assert sum(count_parameters(create_model(f"torchvision:{name}", classes=2).network)) == num_parameters


def test_torchvision_repeats_grey() -> None:
    model = create_model("torchvision:squeezenet1_1", classes=4, channels=1, mean=[0.3], std=[0.2]).eval()
    assert model.spec.mean == (0.3, 0.3, 0.3)
    assert model(torch.rand(1, 1, 32, 32)).shape == (1, 4)


def test_torchvision_auxiliary_heads_are_left_out() -> None:
    network = create_model("torchvision:googlenet", classes=3).network
    assert network.train()(torch.rand(2, 3, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "size", "from_file"), [("googlenet", 64, False), ("googlenet", 64, True), ("inception_v3", 96, False)]
)
def test_published_auxiliary_heads_are_dropped(
    name: str, size: int, from_file: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    builder = getattr(torchvision.models, name)
    published = builder(weights=None, init_weights=False, aux_logits=True, transform_input=True).eval()
    state = published.state_dict()
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *args, **options: state)
    torch.save(state, tmp_path / "published.pth")
    weights = tmp_path / "published.pth" if from_file else None
    model = create_model(f"torchvision:{name}[pretrained]", classes=1000, size=(size, size), weights=weights)
    assert not [key for key in model.network.state_dict() if "aux" in key.lower()]
    assert model.train()(torch.rand(2, 3, size, size)).shape == (2, 1000)
    # The same logits as with torchvision's own preprocessing, before saving and after.
    model.network.load_state_dict({key: state[key] for key in model.network.state_dict()})
    image = torch.rand(1, 3, size, size)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    expected = published((image - mean) / std)
    torch.testing.assert_close(model.eval()(image), expected, rtol=1e-3, atol=1e-4)
    save_model(model, tmp_path / "student.safetensors")
    torch.testing.assert_close(load_model(tmp_path)(image), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "densenet121", "vgg11", "vit_b_16"])
def test_published_weights_bring_their_preprocessing_and_get_a_fresh_head(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: dict[str, torch.Tensor] = {}

    def fetch(weights: object, *args: object, **options: object) -> dict[str, torch.Tensor]:
        published.update(torchvision.models.get_model(name, weights=None).state_dict())
        return published

    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", fetch)
    with torch.device("meta"):
        model = create_model(f"torchvision:{name}[pretrained]", classes=3)
    assert (model.spec.size, model.spec.mean, model.spec.std) == ((224, 224), IMAGENET_MEAN, IMAGENET_STD)
    assert model.name == f"torchvision:{name}"
    changed = [key for key, tensor in model.network.state_dict().items() if tensor.shape != published[key].shape]
    head = head_of(model.network)
    assert changed == [f"{head}.weight", f"{head}.bias"]
    assert model.network.get_parameter(f"{head}.weight").shape[0] == 3


def test_torchvision_offline_names_the_file_and_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*args: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError, match=r"put resnet18-\w+\.pth into .*checkpoints, or give") as caught:
        create_model("torchvision:resnet18", classes=2, pretrained=True)
    assert "\n" not in str(caught.value)


def test_timm_offline_names_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        # huggingface_hub warns of every attempt.
        assert not logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING)
        raise OSError("no network\nat all")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    with pytest.raises(UserError, match=r"repository timm/test_resnet\.\w+ and give the file as weights") as caught:
        create_model("timm:test_resnet", classes=2, pretrained=True)
    assert "\n" not in str(caught.value)
    assert logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING)


def test_timm_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    published = timm.create_model("test_resnet").state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *args, **options: dict(published))
    model = create_model("timm:test_resnet[pretrained]", classes=3, channels=1)
    assert torch.equal(model.network.get_parameter("layer1.0.conv1.weight"), published["layer1.0.conv1.weight"])
    assert model.network.get_parameter("fc.weight").shape[0] == 3
    assert (model.spec.size, model.spec.channels, model.spec.mean) == ((160, 160), 3, (0.5, 0.5, 0.5))


def test_weights_file_stands_for_the_published_weights(tmp_path: Path) -> None:
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=5)
    torch.save(network.state_dict(), tmp_path / "imagenet.pth")
    name = "torchvision:shufflenet_v2_x0_5"
    model = create_model(name, classes=2, pretrained=True, weights=tmp_path / "imagenet.pth")
    assert torch.equal(model.network.get_parameter("conv1.0.weight"), network.conv1[0].weight)
    assert model.spec.size == (224, 224)
    with pytest.raises(UserError, match=r"fc.weight is \(5, 1024\) in the file, \(2, 1024\) in the network"):
        create_model(name, classes=2, weights=tmp_path / "imagenet.pth")


def test_timm_takes_channels_and_its_own_fixed_size() -> None:
    model = create_model("timm:test_vit", classes=2, channels=1).eval()
    assert (model.spec.channels, model.spec.size) == (1, (160, 160))
    assert model(torch.rand(1, 1, 8, 8)).shape == (1, 2)
    small = create_model("timm:test_vit", classes=2, settings={"img_size": 32})
    assert small.spec.size == (32, 32)
    assert create_model("timm:test_resnet", classes=2).spec.size is None


FILE = """
from dataclasses import dataclass
from torch import nn

@dataclass
class Plan:
    width: int

def grey(num_classes, width=4):
    plan = Plan(width)
    conv = nn.Conv2d(1, plan.width, 3)
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

def any_channels(*, num_classes, in_channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, num_classes))

def broken(num_classes):
    return num_classes
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "networks.py"
    path.write_text(FILE)
    return str(path)


def test_file_function_gets_settings_and_keeps_its_channels(file: str) -> None:
    model = create_model(f"{file}:grey", classes=5, settings={"width": 6})
    assert model.spec.channels == 1
    assert isinstance(model.network.get_submodule("3"), nn.Linear)
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 5)
    assert default_size(f"{file}:grey") == 224


def test_file_function_gets_channels_if_it_takes_them(file: str) -> None:
    assert create_model(f"{file}:any_channels", classes=5, channels=1)(torch.rand(2, 1, 8, 8)).shape == (2, 5)


def test_file_function_mistakes(file: str) -> None:
    with pytest.raises(UserError, match="has no function 'gray'"):
        create_model(f"{file}:gray", classes=2)
    with pytest.raises(UserError, match="no setting 'depth': did you mean 'width'"):
        create_model(f"{file}:grey", classes=2, settings={"depth": 2})
    with pytest.raises(UserError, match="returned int: return a torch"):
        create_model(f"{file}:broken", classes=2)


def test_trained_model_by_path_keeps_its_own_preprocessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = create_model("cnn-xs", classes=["cat", "dog"], channels=1, size=(10, 10))
    save_model(trained, tmp_path / "student.safetensors")
    for path in (str(tmp_path), str(tmp_path / "student.safetensors")):
        assert create_model(path, classes=["cat", "dog"]).spec == trained.spec
        assert create_model(path, classes=2).classes == ("cat", "dog")
        assert default_size(path) == 10
    with pytest.raises(UserError, match="the class 'cat' where the data has 'dog'"):
        create_model(str(tmp_path), classes=["dog", "cat"])
    with pytest.raises(UserError, match="has 2 classes, the data 3"):
        create_model(str(tmp_path), classes=3)
    refused: dict[str, object] = {"settings": {"width": 3}, "pretrained": True, "weights": "x.pth"}
    refused |= {"size": (8, 8), "mean": (0.5,), "std": (0.5,)}
    for key, value in refused.items():
        with pytest.raises(UserError, match=f"leave out {'width' if key == 'settings' else key}$"):
            create_model(str(tmp_path), classes=2, **{key: value})  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cnn-s").mkdir()
    assert create_model("cnn-s", classes=2).name == "cnn-s"

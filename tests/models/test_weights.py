import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models import load_weights

Build = Callable[..., nn.Module]


def _assert_same(network: nn.Module, other: nn.Module) -> None:
    for key, tensor in other.state_dict().items():
        assert torch.equal(network.state_dict()[key], tensor), key


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state", "model_state_dict", "net", "ema"])
def test_wrappers(wrapper: str, build: Build, tmp_path: Path) -> None:
    other = build("cnn-s", seed=1)
    torch.save({wrapper: other.state_dict(), "epoch": 3, "best_acc": 0.9}, tmp_path / "w.pt")
    network = build("cnn-s")
    assert load_weights(network, tmp_path / "w.pt") == [f"took the tensors under '{wrapper}'"]
    _assert_same(network, other)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "network.", "module._orig_mod.", "model."])
def test_prefixes(prefix: str, build: Build, tmp_path: Path) -> None:
    other = build("cnn-s", seed=1)
    save_file({f"{prefix}{key}": value for key, value in other.state_dict().items()}, tmp_path / "w.safetensors")
    network = build("cnn-s")
    assert len(load_weights(network, tmp_path / "w.safetensors")) == prefix.count(".")
    _assert_same(network, other)


@pytest.mark.parametrize("head", ["linear", "classifier", "head", "heads.head"])
def test_head_names(head: str, build: Build, tmp_path: Path) -> None:
    other = build("cnn-s", seed=1)
    save_file({key.replace("fc.", f"{head}."): v for key, v in other.state_dict().items()}, tmp_path / "w.safetensors")
    network = build("cnn-s")
    assert load_weights(network, tmp_path / "w.safetensors") == [f"renamed the head '{head}' to 'fc'"]
    _assert_same(network, other)


def test_old_checkpoints_do_not_count_batches(build: Build, tmp_path: Path) -> None:
    state = build("cnn-s", seed=1).state_dict()
    torch.save({key: value for key, value in state.items() if "num_batches" not in key}, tmp_path / "w.pt")
    assert load_weights(build("cnn-s"), tmp_path / "w.pt") == []


def test_misfits_are_listed_and_nothing_is_loaded(build: Build, tmp_path: Path) -> None:
    state = build("cnn-s", seed=1, num_classes=7).state_dict()
    state["extra"] = state.pop("layer1.conv1.weight")
    save_file(state, tmp_path / "w.safetensors")
    network, before = build("cnn-s"), build("cnn-s")
    with pytest.raises(UserError) as caught:
        load_weights(network, tmp_path / "w.safetensors")
    message = str(caught.value)
    assert "missing layer1.conv1.weight (64, 3, 3, 3)" in message
    assert "unexpected extra (64, 3, 3, 3)" in message
    assert "fc.weight is (7, 128) in the file, (10, 128) in the network" in message
    assert "\n" not in message
    _assert_same(network, before)


def test_long_lists_are_cut(build: Build, tmp_path: Path) -> None:
    save_file(build("resnet8").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"; and \d+ more$"):
        load_weights(build("vgg8"), tmp_path / "w.safetensors")


def test_other_head_stays_fresh_only_if_asked(build: Build, tmp_path: Path) -> None:
    other = build("cnn-s", seed=1, num_classes=7)
    state = {key.replace("fc.", "classifier."): value for key, value in other.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    network, before = build("cnn-s"), build("cnn-s")
    notes = load_weights(network, tmp_path / "w.safetensors", replace_head=True)
    assert notes[-1] == "the head 'fc' is fresh: 7 classes in the file, 10 here"
    assert torch.equal(network.get_parameter("fc.weight"), before.get_parameter("fc.weight"))
    assert torch.equal(network.get_parameter("layer1.conv1.weight"), other.get_parameter("layer1.conv1.weight"))


def test_missing_head_is_refused_even_so(build: Build, tmp_path: Path) -> None:
    state = {key: value for key, value in build("cnn-s").state_dict().items() if not key.startswith("fc")}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="missing fc"):
        load_weights(build("cnn-s"), tmp_path / "w.safetensors", replace_head=True)


class _Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_pickled_code_is_refused_and_not_run(build: Build, tmp_path: Path) -> None:
    torch.save({"state_dict": _Malicious(tmp_path / "executed")}, tmp_path / "w.pt")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(_Malicious(tmp_path / "executed"), protocol=2))
    torch.save(build("cnn-s"), tmp_path / "module.pt")
    for name in ("w.pt", "w.pkl", "module.pt"):
        with pytest.raises(UserError, match="tensors only"):
            load_weights(build("cnn-s"), tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_damaged_files(name: str, build: Build, tmp_path: Path) -> None:
    path = tmp_path / name
    state = build("cnn-s").state_dict()
    save_file(state, path) if name == "w.safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="is damaged"):
        load_weights(build("cnn-s"), path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="is damaged"):
        load_weights(build("cnn-s"), path)


def test_missing_file_and_no_state_dict(build: Build, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        load_weights(build("cnn-s"), tmp_path / "none.pt")
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="holds no state dict"):
        load_weights(build("cnn-s"), tmp_path / "w.pt")


def test_resnet56_with_padding_reads_the_common_layout(build: Build, tmp_path: Path) -> None:
    state: dict[str, Tensor] = {"conv1.weight": torch.randn(16, 3, 3, 3), **_batchnorm("bn1", 16)}
    channels = 16
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(9):
            for i in (1, 2):
                state[f"layer{stage}.{block}.conv{i}.weight"] = torch.randn(width, channels, 3, 3)
                state |= _batchnorm(f"layer{stage}.{block}.bn{i}", width)
                channels = width
    state |= {"linear.weight": torch.randn(10, 64), "linear.bias": torch.randn(10)}
    save_file(state, tmp_path / "w.safetensors")
    network = build("resnet56", shortcut="padding")
    assert load_weights(network, tmp_path / "w.safetensors") == ["renamed the head 'linear' to 'fc'"]
    assert torch.equal(network.get_parameter("layer3.8.conv2.weight"), state["layer3.8.conv2.weight"])
    with pytest.raises(UserError, match=r"missing layer2\.0\.downsample"):
        load_weights(build("resnet56"), tmp_path / "w.safetensors")


def _batchnorm(name: str, width: int) -> dict[str, Tensor]:
    return {f"{name}.{key}": torch.rand(width) for key in ("weight", "bias", "running_mean", "running_var")}

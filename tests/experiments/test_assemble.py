from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from understudy.classifier import Classifier, InputSpec
from understudy.data import load_data
from understudy.engine.distributed import World
from understudy.errors import UserError
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.optimization import make_optimization
from understudy.experiments.settings import resolve
from understudy.methods.kd import KD
from understudy.models import create_model, load_model, save_model


def assembled(command: Any, *overrides: tuple[str, Any], given: Given | None = None, **chosen: Any) -> Assembly:
    common = {"data": "digits", "student": "cnn-xs", "device": "cpu"}
    return assemble(resolve(command, [], [*{**common, **chosen}.items(), *overrides]), given=given)


def ready_to_train(*overrides: tuple[str, Any], **chosen: Any) -> None:
    made = assembled("distill", *overrides, **chosen)
    make_optimization(made, len(made.train_loader()))


def weights(made: Assembly) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in made.student.network.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_seed_chooses_the_first_weights_with_and_without_a_teacher(teacher_run: Path) -> None:
    plain = weights(assembled("train", seed=3))
    assert equal(plain, weights(assembled("distill", seed=3, teacher=str(teacher_run))))
    both = assembled("distill", seed=3, teacher=str(teacher_run), method=["logit-mse", "kd"])
    assert equal(plain, weights(both))
    assert not equal(plain, weights(assembled("train", seed=4)))


def test_random_numbers_of_training_do_not_depend_on_adapters(
    teacher_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assembled("train")
    plain = torch.rand(3)
    monkeypatch.setattr(KD, "setup", lambda *arguments: torch.rand(5))
    assembled("distill", teacher=str(teacher_run))
    assert torch.equal(torch.rand(3), plain)


def test_student_may_start_from_the_teacher(teacher_run: Path) -> None:
    made = assembled("distill", ("student.init", "teacher"), teacher=str(teacher_run), student="cnn-s")
    assert equal(weights(made), dict(load_model(teacher_run).network.state_dict()))
    assert any("copied from the teacher" in note for note in made.notes)


def test_init_needs_a_teacher() -> None:
    with pytest.raises(UserError, match="needs a teacher"):
        assembled("train", ("student.init", "teacher"))


def test_head_alone_trains_and_batchnorm_keeps_its_statistics() -> None:
    made = assembled("train", ("student.train", "head"))
    trainable = {name for name, parameter in made.student.network.named_parameters() if parameter.requires_grad}
    assert trainable == {"fc.weight", "fc.bias"}
    [group] = make_optimization(made, 1).optimizer.param_groups
    assert sum(parameter.numel() for parameter in group["params"]) == sum(
        parameter.numel() for parameter in made.student.network.fc.parameters()
    )
    before = weights(made)
    made.distiller.train()
    made.distiller(made.sample())
    assert equal(weights(made), before)


def test_every_image_is_in_one_split_and_served_once() -> None:
    made = assembled("train")
    for name in ("val", "test"):
        index = torch.cat([batch.index for batch in made.batches(name)])
        assert torch.equal(index.sort().values, torch.arange(len(made.split(name))))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_processes_share_an_evaluation_without_remainder(size: int, image_folder: Path) -> None:
    made = assembled("train", ("data.size", 8), data=str(image_folder))
    for name in ("val", "test"):
        parts = [list(replace(made, world=World(rank, size)).batches(name)) for rank in range(size)]
        index = torch.cat([batch.index for part in parts for batch in part])
        assert torch.equal(index.sort().values, torch.arange(len(made.split(name))))
        assert all(parts) or len(made.split(name)) < size


def test_grey_images_reach_a_torchvision_network() -> None:
    made = assembled("train", ("student.size", 32), student="torchvision:shufflenet_v2_x0_5")
    assert made.student.spec == InputSpec((32, 32), 3, made.data.mean * 3, made.data.std * 3)
    assert made.sample(8).image.shape == (8, 1, 8, 8)
    assert made.distiller(made.sample()).loss.isfinite()


def test_teacher_sees_its_own_size_and_normalisation(tmp_path: Path) -> None:
    digits = load_data("digits")
    teacher = create_model("cnn-s", classes=digits.classes, channels=1, size=(16, 16), mean=(0.1,), std=(0.7,))
    save_model(teacher, tmp_path / "teacher.safetensors")
    made = assembled("distill", teacher=str(tmp_path / "teacher.safetensors"))
    batch = made.sample()
    assert made.teacher is not None
    pixels = interpolate(batch.image / 255, (16, 16), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = teacher.network.eval()((pixels - 0.1) / 0.7)
    torch.testing.assert_close(made.teacher(batch).logits, expected)
    assert made.student.spec == InputSpec((8, 8), 1, digits.mean, digits.std)


def test_classes_must_match(teacher_run: Path, image_folder: Path) -> None:
    with pytest.raises(UserError, match="10 classes, the data 3"):
        assembled("distill", data=str(image_folder), teacher=str(teacher_run))


def test_images_of_many_sizes_take_that_of_the_largest_model(image_folder: Path) -> None:
    assert assembled("train", data=str(image_folder), student="resnet8").size == 32
    own = Given(student=nn.Sequential(nn.Flatten(), nn.LazyLinear(3)))
    with pytest.raises(UserError, match=r"set data\.size"):
        assembled("train", data=str(image_folder), student="object:Sequential", given=own)


def test_selection_needs_validation_images() -> None:
    with pytest.raises(UserError, match=r"data\.validation"):
        assembled("train", ("data.validation", 0))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("method.temperature", -1, "method.kd: .*-1"),
        ("train.optimizer.lr", -1, "train.optimizer.lr=-1 is not valid"),
        ("train.warmup_epochs", 1, "train.schedule: onecycle warms up"),
        ("data.augment", "crop-flop", "crop-flop"),
        ("student.train", ["layer9"], "layer9"),
        ("student.weights", "no.pt", r"no\.pt"),
        ("device", "gpu", "device=gpu"),
    ],
)
def test_what_does_not_fit_is_one_line(teacher_run: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ready_to_train((key, value), teacher=str(teacher_run))
    assert "\n" not in str(caught.value)


def test_given_objects_are_used_as_they_are() -> None:
    digits = load_data("digits")
    bare = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    wrapped = Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), spec=InputSpec((8, 8), 1, (0.0,), (1.0,)), classes=range(10)
    )
    given = Given(data=digits, teacher=wrapped, student=bare)
    made = assembled("distill", data="object:d", teacher="object:t", student="object:s", given=given)
    assert made.data is digits
    assert made.student.network is bare
    assert made.student.spec == InputSpec((8, 8), 1, digits.mean, digits.std)
    assert made.teacher is not None
    assert made.teacher.tapped.model is wrapped


class WrongInHalf(nn.Conv2d):
    """A convolution whose half-precision kernel is wrong."""

    def forward(self, input: Tensor) -> Tensor:
        right = super().forward(input)
        return right.flip(1) if right.dtype == torch.bfloat16 else right


def test_layers_that_half_precision_gets_wrong_compute_in_float32(tmp_path: Path) -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), WrongInHalf(4, 8, 3), nn.Flatten(), nn.Linear(128, 10))

    given = Given(student=network(), teacher=network())
    made = assembled("distill", ("train.precision", "bf16"), given=given, teacher="object", student="object")
    wrong = [note for note in made.notes if "gets it wrong" in note]
    assert [note.partition(":")[0] for note in wrong] == ["teacher", "student"]
    assert all("2' is computed in float32" in note for note in wrong)
    assert not any("gets it wrong" in note for note in assembled("train", given=Given(student=network())).notes)

"""Several teachers, teachers of other classes, calibrated teachers, unlabelled images: from settings to runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import yaml
from PIL import Image
from torch import nn

import understudy
from understudy.classifier import Classifier
from understudy.data import ImageData, PixelSplit, load_data
from understudy.errors import UserError
from understudy.evaluation.accuracy import scores
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.temperature import fit_temperature
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.plan import plan_tables
from understudy.experiments.run import Result, run
from understudy.experiments.settings import resolve
from understudy.experiments.teaching import measure_teacher, read_class_map
from understudy.models import load_model, save_model
from understudy.taps import network_of
from understudy.teachers import AdjustedClassifier, Ensemble, members_of

Digits = Callable[..., Result]

SETS = {"low": list("01234"), "high": list("56789")}


@pytest.fixture(scope="module")
def second_run(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("second") / "run"
    digits("train", out, student="cnn-xs", seed=1, train__epochs=3)
    return out


def few_digits(classes: list[str]) -> ImageData:
    """The digits of some classes only, or of groups of classes where these are called low and high."""
    data = load_data("digits")
    groups = [SETS.get(name, [name]) for name in classes]

    def part(split: Any) -> PixelSplit:
        label = torch.full_like(split.labels, -1)
        for number, group in enumerate(groups):
            for name in group:
                label[split.labels == int(name)] = number
        return PixelSplit(split.pixels[label >= 0], label[label >= 0])

    found = {name: part(getattr(data, name)) for name in ("train", "val", "test")}
    return ImageData("few", tuple(classes), **found, size=8, channels=1, mean=data.mean, std=data.std)


def made_of(teacher: object, *overrides: tuple[str, Any], data: ImageData | None = None) -> Assembly:
    common = [("data", "digits"), ("student", "cnn-xs"), ("device", "cpu"), ("teacher", teacher)]
    named = [("data", "object:few")] if data else []
    return assemble(resolve("distill", [], [*common, *named, *overrides]), given=Given(data=data))


def logits_of(run: Path, made: Assembly, split: str = "val") -> torch.Tensor:
    return made.predictions(load_model(run), split).logits


def teacher_logits(made: Assembly, split: str = "val") -> torch.Tensor:
    assert made.teacher is not None
    return made.predictions(made.teacher.tapped.model, split).logits


def test_a_list_of_teachers_averages_their_logits(teacher_run: Path, second_run: Path) -> None:
    made = made_of([str(teacher_run), str(second_run)], ("teacher.shares", [3, 1]))
    expected = 0.75 * logits_of(teacher_run, made) + 0.25 * logits_of(second_run, made)
    torch.testing.assert_close(teacher_logits(made), expected)


@pytest.mark.parametrize(
    ("overrides", "temperature"), [([("method.temperature", 2)], 2.0), ([("teacher.average_temperature", 3)], 3.0)]
)
def test_probabilities_are_averaged_at_the_temperature_of_the_method(
    teacher_run: Path, second_run: Path, overrides: list[tuple[str, Any]], temperature: float
) -> None:
    made = made_of([str(teacher_run), str(second_run)], ("teacher.average", "probabilities"), *overrides)
    both = [(logits_of(run, made) / temperature).softmax(1) for run in (teacher_run, second_run)]
    torch.testing.assert_close((teacher_logits(made) / temperature).softmax(1), (both[0] + both[1]) / 2)


def test_an_ensemble_teaches_a_run(digits: Digits, teacher_run: Path, second_run: Path, tmp_path: Path) -> None:
    names = [str(teacher_run), str(second_run)]
    result = digits("distill", tmp_path / "run", teacher=names)
    assert result["teacher"]["name"] == " + ".join(names)
    for member, run_directory in zip(result["teacher"]["members"], (teacher_run, second_run), strict=True):
        own = json.loads((run_directory / "result.json").read_text())
        assert member["val"]["accuracy"] == own["val"]["accuracy"]
    config = tmp_path / "run" / "config.yaml"
    assert yaml.safe_load(config.read_text())["teacher"]["name"] == names
    assert run(resolve("distill", [config], [])) == result


def test_each_member_is_measured_before_it_teaches(teacher_run: Path, tmp_path: Path) -> None:
    untrained = understudy.create_model("cnn-s", classes=load_data("digits").classes, channels=1)
    save_model(untrained, tmp_path / "untrained.safetensors")
    names = [str(teacher_run), str(tmp_path / "untrained.safetensors")]
    said: list[str] = []
    with pytest.raises(UserError, match=r"the teacher .*untrained.* no better than guessing"):
        measure_teacher(made_of(names), said.append)
    measured = measure_teacher(made_of(names, ("teacher.allow_untrained", True)), said.append)
    assert measured is not None
    assert "warning" in said[-2]
    assert said[-1].startswith("ensemble of 2 teachers: ")


def test_an_ensemble_from_python(teacher_run: Path, second_run: Path, tmp_path: Path) -> None:
    settings = {"train.epochs": 1, "device": "cpu"}
    ensemble = Ensemble([load_model(teacher_run), load_model(second_run)])
    given = understudy.distill("digits", ensemble, student="cnn-xs", out=tmp_path / "object", settings=settings)
    names = [str(teacher_run), str(second_run)]
    named = understudy.distill("digits", names, student="cnn-xs", out=tmp_path / "names", settings=settings)
    assert given["test"] == named["test"]
    assert given["teacher"]["val"] == named["teacher"]["val"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([("teacher.shares", [1])], "teacher: shares .* one for each of 2"),
        ([("teacher.average", "votes")], r"teacher.average='votes'"),
        ([("student.init", "teacher")], "needs one teacher, not several"),
        ([("teacher.temperature", "hot")], r"teacher.temperature='hot'"),
    ],
)
def test_wrong_ensembles_are_one_line(
    teacher_run: Path, second_run: Path, overrides: list[tuple[str, Any]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        made_of([str(teacher_run), str(second_run)], *overrides)


def test_plan_shows_every_member(teacher_run: Path, second_run: Path) -> None:
    table = plan_tables(made_of([str(teacher_run), str(second_run)]))[1]
    assert list(table.columns[0].cells) == ["student", "teacher", "teacher"]


def test_classes_of_equal_names_teach_a_student_of_fewer(teacher_run: Path) -> None:
    made = made_of(str(teacher_run), data=few_digits(["7", "1", "4"]))
    torch.testing.assert_close(teacher_logits(made), logits_of(teacher_run, made)[:, [7, 1, 4]])
    assert any("3 of its classes teach 3" in note for note in made.notes)
    measured = measure_teacher(made, lambda line: None)
    assert measured is not None
    assert measured.val["accuracy"] > 0.7


def test_a_given_classifier_teaches_the_classes_it_shares(teacher_run: Path) -> None:
    data = few_digits(["7", "1", "4"])
    settings = resolve(
        "distill", [], [("data", "object:d"), ("student", "cnn-xs"), ("device", "cpu"), ("teacher", "object:t")]
    )
    made = assemble(settings, given=Given(data=data, teacher=load_model(teacher_run)))
    torch.testing.assert_close(teacher_logits(made), logits_of(teacher_run, made)[:, [7, 1, 4]])
    other = load_model(teacher_run)
    other.classes = tuple("abcdefghij")
    with pytest.raises(UserError, match="no single class '7'"):
        assemble(settings, given=Given(data=data, teacher=other))


@pytest.mark.parametrize("kind", ["mapping", "csv", "yaml"])
def test_groups_of_classes_teach_one(teacher_run: Path, tmp_path: Path, kind: str) -> None:
    chosen: Any = SETS
    if kind == "csv":
        chosen = str(tmp_path / "map.csv")
        lines = [f"{digit},{name}" for name, group in SETS.items() for digit in group]
        Path(chosen).write_text("\n".join(["teacher,student", *lines]))
    if kind == "yaml":
        chosen = str(tmp_path / "map.yaml")
        Path(chosen).write_text(yaml.safe_dump(SETS))
    made = made_of(str(teacher_run), ("teacher.classes", chosen), data=few_digits(["high", "low"]))
    all_ten = logits_of(teacher_run, made).softmax(1)
    expected = torch.stack([all_ten[:, 5:].sum(1), all_ten[:, :5].sum(1)], 1)
    torch.testing.assert_close(teacher_logits(made).softmax(1), expected)


def test_a_mapped_teacher_has_the_layers_of_its_network(teacher_run: Path) -> None:
    made = made_of(str(teacher_run), ("method", "at"), data=few_digits(["7", "1", "4"]))
    assert made.teacher is not None
    model = made.teacher.tapped.model
    assert isinstance(model, AdjustedClassifier)
    assert set(network_of(model).state_dict()) == set(load_model(teacher_run).network.state_dict())
    step = made.distiller(made.sample(), made.teacher(made.sample()))
    assert step.loss.isfinite()


def test_a_run_with_other_classes(teacher_run: Path, tmp_path: Path) -> None:
    settings = {"train.epochs": 6, "train.optimizer.lr": 0.01, "device": "cpu", "data.augment": "none"}
    result = understudy.distill(
        few_digits(["0", "1", "2"]), str(teacher_run), student="cnn-xs", out=tmp_path / "run", settings=settings
    )
    assert load_model(tmp_path / "run").classes == ("0", "1", "2")
    assert result["test"]["accuracy"] > 0.5


def test_classes_that_do_not_fit(teacher_run: Path) -> None:
    data = few_digits(["high", "low"])
    with pytest.raises(UserError, match=r"10 classes, the data 2.*'high'.*teacher.classes="):
        made_of(str(teacher_run), data=data)
    with pytest.raises(UserError, match="did you mean"):
        made_of(str(teacher_run), ("teacher.classes", {"high": ["55"], "low": ["1"]}), data=data)
    with pytest.raises(UserError, match="those of 'cnn-s' have not: give a run"):
        made_of("cnn-s", ("teacher.classes", SETS), data=data)


@pytest.mark.parametrize("chosen", ["torchvision:resnet18", "timm:resnet18"])
def test_classes_of_published_weights_have_names(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    get, create = torchvision.models.get_model, timm.create_model
    # Nothing is downloaded: the networks stay as they were drawn.
    monkeypatch.setattr(
        torchvision.models, "get_model", lambda name, weights, progress, **options: get(name, **options)
    )
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **options: create(name, **options))

    def groups(classes: tuple[str, ...], *overrides: tuple[str, Any]) -> object:
        data = replace(few_digits(["0", "1"]), classes=classes)
        made = made_of(chosen, ("teacher.pretrained", True), *overrides, data=data)
        assert made.teacher is not None
        return made.teacher.tapped.model.merge.groups

    assert groups(("tench", "tabby")) == ((0,), (281,))
    assert groups(("n01440764", "n02123045")) == ((0,), (281,))
    pairing = {"fish": ["n01440764", "n01443537"], "cat": "n02123045"}
    assert groups(("fish", "cat"), ("teacher.classes", pairing)) == ((0, 1), (281,))


def test_a_bare_network_has_no_names_of_classes() -> None:
    with pytest.raises(UserError, match="give a Classifier with classes"):
        understudy.distill("digits", nn.Linear(64, 10), student="cnn-xs", settings={"teacher.classes": {"0": "1"}})


def test_class_map_files(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text("student,teacher\ndog, beagle\ndog, husky\ncat, tabby\n")
    assert read_class_map(str(file)) == {"dog": ["beagle", "husky"], "cat": ["tabby"]}
    assert read_class_map({"dog": ["beagle"], "cat": "tabby", 3: 4}) == {
        "dog": ["beagle"],
        "cat": ["tabby"],
        "3": ["4"],
    }
    file.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="columns teacher and student"):
        read_class_map(str(file))
    for name in ("none.csv", "none.yaml"):
        with pytest.raises(UserError, match="cannot read"):
            read_class_map(str(tmp_path / name))


def test_a_fitted_temperature_is_said_and_applied(digits: Digits, teacher_run: Path, tmp_path: Path) -> None:
    made = made_of(str(teacher_run), ("teacher.temperature", "fit"))
    before = made.predictions(load_model(teacher_run), "val")
    said: list[str] = []
    measured = measure_teacher(made, said.append)
    assert measured is not None
    fitted = fit_temperature(before)
    assert measured.details["temperatures"] == [pytest.approx(fitted)]
    assert f"temperature {fitted:.3f} fitted" in said[-1]
    torch.testing.assert_close(teacher_logits(made), before.logits / fitted)
    assert measured.val["nll"] < scores(before)["nll"]
    assert measured.val["accuracy"] == scores(before)["accuracy"]
    result = digits("distill", tmp_path / "run", teacher=str(teacher_run), teacher__temperature="fit")
    assert result["teacher"]["temperatures"] == measured.details["temperatures"]
    on_test = Predictions(teacher_logits(made, "test"), made.data.test.labels)
    assert result["teacher"]["test"]["nll"] == pytest.approx(scores(on_test)["nll"])


def test_members_are_calibrated_one_by_one(teacher_run: Path, second_run: Path) -> None:
    made = made_of([str(teacher_run), str(second_run)], ("teacher.temperature", "fit"))
    measured = measure_teacher(made, lambda line: None)
    assert measured is not None
    assert made.teacher is not None
    first, second = members_of(made.teacher.tapped.model)
    assert isinstance(first, AdjustedClassifier)
    assert isinstance(second, AdjustedClassifier)
    assert measured.details["temperatures"] == pytest.approx([first.temperature.item(), second.temperature.item()])
    expected = sum(
        logits_of(run, made) / t
        for run, t in zip((teacher_run, second_run), measured.details["temperatures"], strict=True)
    )
    torch.testing.assert_close(teacher_logits(made), expected / 2)


def test_a_given_network_is_calibrated_too(teacher_run: Path) -> None:
    settings = resolve(
        "distill",
        [],
        [
            ("data", "digits"),
            ("student", "cnn-xs"),
            ("device", "cpu"),
            ("teacher", "object:t"),
            ("teacher.temperature", "fit"),
        ],
    )
    made = assemble(settings, given=Given(teacher=load_model(teacher_run)))
    assert made.teacher is not None
    assert isinstance(made.teacher.tapped.model, AdjustedClassifier)
    ensemble = assemble(settings, given=Given(teacher=Ensemble([load_model(teacher_run)])))
    with pytest.raises(UserError, match="made in Python"):
        measure_teacher(ensemble, lambda line: None)


def test_members_see_their_own_size_and_normalisation(tmp_path: Path) -> None:
    data = load_data("digits")
    paths: list[str] = []
    models: list[Classifier] = []
    for size in (8, 16):
        torch.manual_seed(size)
        model = understudy.create_model(
            "cnn-s", classes=data.classes, channels=1, size=(size, size), mean=(size / 32,), std=(0.7,)
        )
        paths.append(str(tmp_path / f"{size}.safetensors"))
        models.append(model.eval())
        save_model(model, paths[-1])
    made = made_of(paths)
    assert made.teacher is not None
    image = made.sample().image
    with torch.no_grad():
        expected = (models[0](image) + models[1](image)) / 2
    torch.testing.assert_close(made.teacher(made.sample()).logits, expected)
    assert made.student.spec.size == (8, 8)


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    folder = tmp_path / "unlabelled"
    (folder / "nested").mkdir(parents=True)
    for number, pixels in enumerate(load_data("digits").test.pixels[:30]):
        Image.fromarray(pixels[0].numpy()).save(folder / ("nested" if number % 2 else "") / f"{number}.png")
    return folder


def test_unlabelled_images_join_the_batches_of_a_run(
    digits: Digits, teacher_run: Path, unlabelled: Path, tmp_path: Path
) -> None:
    chosen = {"teacher": str(teacher_run), "data__unlabelled": str(unlabelled), "data__unlabelled_share": 0.5}
    made = made_of(str(teacher_run), ("data.unlabelled", str(unlabelled)), ("data.unlabelled_share", 0.5))
    batch = next(made.train_loader().batches(0))
    assert batch.label is not None
    assert (len(batch.label), len(batch.image)) == (64, 96)
    assert any("30 images without labels" in note for note in made.notes)
    result = digits("distill", tmp_path / "run", **chosen)
    assert result["test"]["accuracy"] > 0.1
    student = (tmp_path / "run" / "student.safetensors").read_bytes()
    digits("distill", tmp_path / "again", **chosen, train__accumulate=1)
    assert (tmp_path / "again" / "student.safetensors").read_bytes() == student
    digits("distill", tmp_path / "without", teacher=str(teacher_run))
    assert (tmp_path / "without" / "student.safetensors").read_bytes() != student


def test_each_part_of_a_batch_has_its_share(teacher_run: Path, unlabelled: Path) -> None:
    overrides = [("data.unlabelled", str(unlabelled)), ("data.unlabelled_share", 0.1), ("train.accumulate", 4)]
    assert made_of(str(teacher_run), *overrides).num_unlabelled() == 8
    assert made_of(str(teacher_run)).num_unlabelled() == 0


def test_a_missing_folder_of_unlabelled_images(teacher_run: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder 'none': data.unlabelled"):
        made_of(str(teacher_run), ("data.unlabelled", "none"))

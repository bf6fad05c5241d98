"""Every source reads the format of its publisher, and says in one line what is missing."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_formats import write_cifar, write_folder, write_image, write_mnist
from torch.utils.data import TensorDataset

from understudy.data import DATASETS, ImageData, load_data
from understudy.errors import UserError


def all_labels(data: ImageData) -> torch.Tensor:
    return torch.cat([data.train.labels, data.val.labels, data.test.labels])


def error_of(data: str, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        load_data(data, settings=settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_digits() -> None:
    data = load_data("digits")
    assert data.classes == tuple("0123456789")
    assert (len(data.train), len(data.val), len(data.test)) == (719, 359, 719)
    assert (data.size, data.channels) == (8, 1)
    image = data.train.read(0)
    assert image.dtype == torch.uint8
    assert image.shape == (1, 8, 8)
    assert max(int(data.train.read(index).max()) for index in range(20)) == 255
    assert load_data("digits").fingerprint() == data.fingerprint()
    assert load_data("digits", settings={"split_seed": 1}).fingerprint() != data.fingerprint()


@pytest.mark.parametrize("num_classes", [10, 100])
def test_cifar_matches_torchvision(tmp_path: Path, num_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    write_cifar(tmp_path, num_classes)
    data = load_data(f"cifar{num_classes}", settings={"root": str(tmp_path), "download": False})
    assert len(data.classes) == num_classes
    assert list(data.classes) == sorted(data.classes)
    assert (data.size, data.channels) == (32, 3)
    published = datasets.CIFAR10 if num_classes == 10 else datasets.CIFAR100
    # It knows the checksums of the real files.
    monkeypatch.setattr(published, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    expected = published(str(tmp_path), train=False)
    assert data.test.labels.tolist() == expected.targets
    assert np.array_equal(data.test.read(3).permute(1, 2, 0).numpy(), expected.data[3])


def test_cifar_pickle_runs_no_code(tmp_path: Path) -> None:
    write_cifar(tmp_path, 10)
    target = tmp_path / "owned"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(target),)  # type: ignore[return-value]

    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Attack(), protocol=2))
    message = error_of("cifar10", root=str(tmp_path))
    assert "test_batch" in message
    assert "wants to load" in message
    assert not target.exists()


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_matches_torchvision(tmp_path: Path, name: str, folder: str, packed: bool) -> None:
    from torchvision import datasets

    write_mnist(tmp_path / folder / "raw", packed=packed)
    data = load_data(name, settings={"root": str(tmp_path), "download": False, "validation": 0.25})
    assert (len(data.train), len(data.val), len(data.test)) == (30, 10, 20)
    assert (data.size, data.channels, len(data.mean)) == (28, 1, 1)
    if not packed:
        published = datasets.MNIST if name == "mnist" else datasets.FashionMNIST
        expected = published(str(tmp_path), train=False)
        assert torch.equal(data.test.read(7)[0], expected.data[7])
        assert data.test.labels.tolist() == expected.targets.tolist()
    if name == "fashion-mnist":
        assert data.classes[0] == "T-shirt/top"


def test_damaged_mnist(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", packed=False)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    assert "train-images-idx3-ubyte" in error_of("mnist", root=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
        ("mnist", "train-images-idx3-ubyte.gz"),
        ("fashion-mnist", "train-images-idx3-ubyte.gz"),
        ("hymenoptera", "hymenoptera_data"),
        ("imagewoof", "imagewoof2-160"),
        ("imagenette", "imagenette2-160"),
    ],
)
def test_missing_data_say_what_to_put_where(tmp_path: Path, name: str, place: str) -> None:
    message = error_of(name, root=str(tmp_path), download=False)
    assert str(tmp_path) in message
    assert place in message
    assert "put" in message


def test_failed_download_says_what_to_put_where(tmp_path: Path) -> None:
    message = error_of("imagewoof", root=str(tmp_path), url="http://127.0.0.1:1/imagewoof2-160.tgz")
    assert "could not be downloaded" in message
    assert f"{tmp_path / 'imagewoof2-160'} is missing" in message
    assert "put the unpacked imagewoof2-160.tgz there" in message


def test_hymenoptera(tmp_path: Path, hymenoptera_zip: Path) -> None:
    settings = {"root": str(tmp_path / "data"), "url": str(hymenoptera_zip), "validation": 0.25}
    data = load_data("hymenoptera", settings=settings)
    assert data.name == "hymenoptera"
    assert data.classes == ("ants", "bees")
    assert (len(data.train), len(data.val), len(data.test)) == (6, 2, 8)
    assert data.notes[0] == "the split called val is the test split"
    # Unpacked once: the archive may go.
    hymenoptera_zip.unlink()
    assert load_data("hymenoptera", settings=settings).fingerprint() == data.fingerprint()


def test_imagewoof_from_file_url(tmp_path: Path, imagewoof_tgz: Path) -> None:
    data = load_data("imagewoof", settings={"root": str(tmp_path / "data"), "url": imagewoof_tgz.as_uri()})
    assert data.classes == ("n02086240", "n02087394", "n02088364")
    assert len(data.test) == 12


def test_imagenet_layout(tmp_path: Path) -> None:
    write_folder(tmp_path, ["train", "val"], classes=["n02", "n01"], suffix=".JPEG")
    data = load_data("imagenet", settings={"path": str(tmp_path)})
    assert data.name == "imagenet"
    assert data.classes == ("n01", "n02")
    assert data.mean == (0.485, 0.456, 0.406)
    # A share of 2 % of ten images is still one of each class.
    assert data.val.labels.tolist() == [0, 1]


def test_imagenette_layout(tmp_path: Path) -> None:
    write_folder(tmp_path / "imagenette2-160", ["train", "val"], classes=["n02", "n01"], suffix=".JPEG")
    data = load_data("imagenette", settings={"root": str(tmp_path), "download": False})
    assert (data.name, data.classes) == ("imagenette", ("n01", "n02"))


@pytest.mark.parametrize(
    ("layout", "sizes", "held_out"),
    [
        (["train", "val", "test"], (20, 20, 20), "test"),
        (["train", "valid", "test"], (20, 20, 20), "test"),
        (["train", "val"], (18, 2, 20), "val"),
        (["train", "test"], (18, 2, 20), "test"),
        ([""], (14, 2, 4), "."),
    ],
)
def test_folder_layouts(tmp_path: Path, layout: list[str], sizes: tuple[int, ...], held_out: str) -> None:
    data = load_data(write_folder(tmp_path / "insects", layout))
    assert data.name == "insects"
    assert data.classes == ("ants", "bees")
    assert (len(data.train), len(data.val), len(data.test)) == sizes
    assert all_labels(data).bincount().tolist() == [sum(sizes) // 2] * 2
    assert len(data.notes) == {"test": int(len(layout) == 2), "val": 2, ".": 1}[held_out]


def test_folder_of_odd_images(tmp_path: Path) -> None:
    for number, mode in enumerate(["RGB", "L", "RGBA", "P", "LA", "1"]):
        for name in ("a", "b"):
            write_image(tmp_path / name / "deeper" / f"{mode}.png", seed=number, size=(20 + number, 31), mode=mode)
            write_image(tmp_path / name / f"{number}.JPG", seed=number, size=(9, 40), mode="CMYK")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "._1.png").write_bytes(b"no image either")
    data = load_data(tmp_path)
    assert (len(all_labels(data)), data.size, data.channels) == (24, None, 3)
    shapes = {data.train.read(index).shape[0] for index in range(len(data.train))}
    assert shapes == {1, 3}


def test_grey_folder_has_one_channel(tmp_path: Path) -> None:
    for number in range(8):
        write_image(tmp_path / "ab"[number % 2] / f"{number}.png", seed=number, mode="L")
    data = load_data(tmp_path)
    assert (data.channels, len(data.mean), len(data.std)) == (1, 1, 1)


def test_measured_statistics(tmp_path: Path) -> None:
    for name in ("train", "test"):
        for label, value in (("a", 0), ("b", 255)):
            (tmp_path / name / label).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (4, 4), (value, 255, 0)).save(tmp_path / name / label / f"{number}.png")
    data = load_data(tmp_path, settings={"validation": 0.25})
    assert data.mean == (0.5, 1.0, 0.0)
    assert data.std == (0.5, 0.0039, 0.0039)


def test_folder_errors(tmp_path: Path) -> None:
    assert "no such folder" in error_of("folder", path=str(tmp_path / "nowhere"))
    assert "no class folders" in error_of(str(tmp_path))
    write_folder(tmp_path, ["train"])
    assert "neither val nor test" in error_of(str(tmp_path))
    write_folder(tmp_path, ["val"], classes=["ants", "wasps"])
    assert "bees, wasps" in error_of(str(tmp_path))
    for name in ("train/wasps", "val/bees"):
        (tmp_path / name).mkdir()
    assert "has no images" in error_of(str(tmp_path))


def test_one_class_is_refused(tmp_path: Path) -> None:
    assert "at least two" in error_of(str(write_folder(tmp_path, [""], classes=["ants"])))


def test_csv(tmp_path: Path) -> None:
    write_folder(tmp_path, ["all"])
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(tmp_path.rglob("*.png"))]
    table = tmp_path / "insects.csv"
    table.write_text("\n".join(["path,label", *rows]))
    data = load_data(table)
    assert (data.name, data.classes) == ("insects", ("ants", "bees"))
    assert (len(data.train), len(data.val), len(data.test)) == (14, 2, 4)
    marked = [f"{row},{'test' if number % 2 else 'train'}" for number, row in enumerate(rows)]
    table.write_text("\n".join(["path,label,split", *marked]))
    assert len(load_data(table).test) == 10
    table.write_text("\n".join(["path,label", "nowhere.png,ants"]))
    assert "line 2" in error_of(str(table))
    table.write_text("\n".join(rows))
    assert "has no column label or path" in error_of(str(table))
    table.write_text("path,label\nx.png,")
    assert "no path or no label" in error_of(str(table))
    table.write_bytes("path,label\nx.png,Käfer".encode("latin-1"))
    assert "is not UTF-8 text" in error_of(str(table))
    table.write_text('path,label\n"x.png')
    assert "is not a CSV file" in error_of(str(table))


@pytest.mark.parametrize("again", ["ants/0.png,ants,test", "./ants/0.png,ants,train", "ants/../ants/0.png,bees,train"])
def test_csv_lists_an_image_once(tmp_path: Path, again: str) -> None:
    write_folder(tmp_path, [""])
    table = tmp_path / "insects.csv"
    table.write_text(f"path,label,split\nants/0.png,ants,train\nbees/0.png,bees,test\n{again}")
    message = error_of(str(table))
    assert "line 4" in message
    assert f"{again.partition(',')[0]} stands in line 2 already" in message


def test_huggingface_saved_to_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["no", "maybe"])})
    images = [Image.new("RGB", (6, 6), (number, 0, 0)) for number in range(20)]
    rows = {"img": images, "label": [number % 2 for number in range(20)]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    whole.save_to_disk(str(tmp_path / "one"))
    data = load_data(f"hf:{tmp_path / 'one'}")
    assert data.classes == ("no", "maybe")
    assert (len(data.train), len(data.val), len(data.test)) == (14, 2, 4)
    reds = [int(part.read(i)[0, 0, 0]) for part in (data.train, data.val, data.test) for i in range(len(part))]
    assert sorted(reds) == list(range(20))
    assert all(int(data.test.read(i)[0, 0, 0]) % 2 == data.test.labels[i] for i in range(4))
    datasets.DatasetDict({"train": whole, "test": whole}).save_to_disk(str(tmp_path / "two"))
    data = load_data("huggingface", settings={"path": str(tmp_path / "two")})
    assert (len(data.train), len(data.val), len(data.test)) == (18, 2, 20)
    assert "no column 'kind'" in error_of("huggingface", path=str(tmp_path / "two"), label_column="kind")


def test_huggingface_text_labels(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    rows = {"image": [Image.new("L", (6, 6))] * 20, "label": ["wasp", "ant"] * 10}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "one"))
    data = load_data(f"hf:{tmp_path / 'one'}")
    assert (data.classes, data.channels) == (("ant", "wasp"), 1)


class Pairs:
    classes = ("no", "maybe")

    def __init__(self, num: int) -> None:
        self.num = num

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((5, 7, 3), index, np.uint8), index % 2


def test_own_datasets() -> None:
    data = load_data((Pairs(20), Pairs(6)))
    assert data.classes == ("no", "maybe")
    assert (len(data.train), len(data.val), len(data.test)) == (18, 2, 6)
    assert data.test.read(5).shape == (3, 5, 7)
    assert int(data.test.read(5)[0, 0, 0]) == 5
    with pytest.raises(UserError, match="no setting 'split_sed': did you mean 'split_seed'"):
        load_data("digits", settings={"split_sed": 0.1})
    with pytest.raises(UserError, match="needs the setting 'path'"):
        load_data("folder")


def test_normalised_images_are_refused() -> None:
    images = TensorDataset(torch.randn(8, 3, 4, 4), torch.arange(8) % 2)
    with pytest.raises(UserError, match="without normalisation"):
        load_data((images, images))


def test_float_images_are_scaled() -> None:
    images = TensorDataset(torch.full((8, 1, 4, 4), 0.2), torch.arange(8) % 2)
    data = load_data((images, images))
    assert data.classes == ("0", "1")
    assert int(data.train.read(0)[0, 0, 0]) == 51


def test_labels_outside_the_classes() -> None:
    images = TensorDataset(torch.zeros(6, 1, 4, 4), torch.arange(6))
    with pytest.raises(UserError, match="label 2"):
        load_data((Pairs(6), images))


def test_function_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\nfrom understudy.data import load_data\n"
        "def pair():\n    data = TensorDataset(torch.zeros(9, 1, 4, 4), torch.arange(9) % 3)\n    return data, data\n"
        "def ready():\n    return load_data('digits')\n"
        "def wrong():\n    return 3\n"
    )
    data = load_data(f"{file}:pair")
    assert (data.name, data.classes, len(data.val)) == ("mine", ("0", "1", "2"), 3)
    assert load_data(f"{file}:ready").name == "digits"
    assert "returned a int" in error_of(f"{file}:wrong")
    assert "no function 'absent'" in error_of(f"{file}:absent")
    assert "no such file" in error_of("absent.py:pair")


def test_unknown_data() -> None:
    assert "did you mean 'cifar10'?" in error_of("cifar01")
    assert error_of("/nowhere/at/all").startswith("no such folder or file '/nowhere/at/all': check")
    for name in ("foldr", "csvs"):
        assert "did you mean" not in error_of(name)
        assert "huggingface" not in error_of(name)
    assert "neither a folder nor a CSV file" in error_of(__file__)


def test_image_data_is_returned_as_it_is() -> None:
    data = load_data("digits")
    assert load_data(data) is data


def test_every_source_is_documented() -> None:
    for name in DATASETS.names():
        assert (DATASETS.get(name).__doc__ or "").count("Args:") == 1, name

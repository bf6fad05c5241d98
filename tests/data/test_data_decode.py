"""Images of every kind become uint8 (channels, height, width)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data.decode import fit, read_image, to_channels, to_pixels
from understudy.errors import UserError


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65535, 32896]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png").tolist() == [[[0, 1, 255, 128]]]


def test_rotation_in_exif_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (3, 4, 2)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_white(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (2, 2)).save(tmp_path / "clear.png")
    pixels = read_image(tmp_path / "clear.png")
    assert pixels.shape[0] == {"RGBA": 3, "LA": 1}[mode]
    assert (pixels == 255).all()


def test_transparent_palette(tmp_path: Path) -> None:
    image = Image.new("P", (2, 2))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "icon.png", transparency=b"\x00\xff")
    pixels = read_image(tmp_path / "icon.png")
    assert pixels[:, 0, 0].tolist() == [40, 50, 60]
    assert pixels[:, 1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0"])
def test_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.jpg"):
        read_image(tmp_path / "broken.jpg")


def test_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"cut\.jpg"):
        read_image(path)


@pytest.mark.parametrize("image", [3, np.zeros((2, 2, 5), np.uint8), torch.zeros(3, 2, 2).long()])
def test_other_things_are_refused(image: object) -> None:
    if isinstance(image, torch.Tensor):
        image += 300
    with pytest.raises(UserError):
        to_pixels(image)


def test_luma_is_that_of_pil() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    expected = np.array(Image.fromarray(pixels).convert("L")).astype(int)
    found = to_channels(torch.from_numpy(pixels).permute(2, 0, 1), 1)[0].numpy().astype(int)
    assert np.abs(found - expected).max() <= 1


def test_fit_keeps_what_fits() -> None:
    image = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    assert fit(image, 24) is image
    wide = torch.zeros(1, 10, 30, dtype=torch.uint8)
    wide[:, :, 10:20] = 200
    # The middle third of a wide image is what a square can keep.
    assert (fit(wide, 20)[:, :, 2:-2] == 200).all()
    assert fit(wide, 20).shape == (1, 20, 20)


@pytest.mark.parametrize(("size", "kept"), [(64, 64), (65, 57)])
def test_only_large_images_are_cropped_on_all_sides(size: int, kept: int) -> None:
    ramp = torch.arange(0, 200).to(torch.uint8).expand(1, 200, 200)
    row = fit(ramp, size)[0, 0].float()
    # The share of the ramp that is left tells how much was cut off: nothing, or 256/224 - 1.
    assert float(row[-1] - row[0]) == pytest.approx(200 * kept / size, abs=5)

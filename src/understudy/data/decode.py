"""Any image a user may have -> uint8 (channels, height, width)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from understudy.classifier import LUMA
from understudy.errors import UserError

# ImageNet evaluation resizes the shorter side to 256 and crops 224; small images lose nothing.
MARGIN = 256 / 224
MAX_SIZE_WITHOUT_MARGIN = 64

# No GIF: image folders hold stray ones that are no photographs (hymenoptera).
EXTENSIONS = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"},
)


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image: by its extension, and not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS


def read_image(path: Path) -> Tensor:
    """Decode an image file: grey images have one channel, all others three; transparency shows white.

    Raises:
        UserError: It cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            return to_pixels(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read the image {path} ({error}): repair or remove it") from error


def to_pixels(image: Any) -> Tensor:
    """A PIL image, a NumPy array or a tensor -> uint8 (1 or 3, height, width).

    Args:
        image: Arrays are (height, width) or (height, width, channels), tensors (height, width) or
            (channels, height, width); uint8 in 0..255 or float in 0..1.

    Raises:
        UserError: It is something else.
    """
    if isinstance(image, Image.Image):
        return _from_pil(image)
    if isinstance(image, np.ndarray):
        tensor = torch.from_numpy(np.ascontiguousarray(image))
        return _checked(tensor.permute(2, 0, 1).contiguous() if tensor.ndim == 3 else tensor)
    if isinstance(image, Tensor):
        return _checked(image)
    raise UserError(f"an image is a {type(image).__name__}: the data set must return PIL images, arrays or tensors")


def to_channels(image: Tensor, channels: int) -> Tensor:
    """Repeat grey images (..., 1, height, width) or reduce colour images to luma, as `channels` asks."""
    if image.shape[-3] == channels:
        return image
    if channels == 3:
        return image.expand(*image.shape[:-3], 3, *image.shape[-2:])
    weights = torch.tensor(LUMA, device=image.device).view(3, 1, 1)
    return (image * weights).sum(-3, keepdim=True).round().to(torch.uint8)


def fit(image: Tensor, size: int) -> Tensor:
    """Resize the shorter side, antialiased, and crop the centre: the one way in which images are framed.

    Up to 64 pixels the shorter side becomes `size`, which keeps as much of the image as a square can; above, 256/224
    of it, as in ImageNet evaluation.

    Args:
        image: uint8 (channels, height, width).
        size: Height and width of the result; an image that has it is returned as it is.
    """
    if tuple(image.shape[-2:]) == (size, size):
        return image
    margin = MARGIN if size > MAX_SIZE_WITHOUT_MARGIN else 1.0
    from torchvision.transforms.v2 import functional

    return functional.center_crop(functional.resize(image, [round(margin * size)], antialias=True), [size, size])


def _from_pil(image: Image.Image) -> Tensor:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        return torch.from_numpy(_eight_bits(np.asarray(upright))).unsqueeze(0)
    grey = upright.mode in ("1", "L", "LA", "La")
    if upright.has_transparency_data:
        background = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(background, upright.convert("RGBA"))
    mode = "L" if grey else "RGB"
    pixels = torch.from_numpy(np.array(upright if upright.mode == mode else upright.convert(mode)))
    return pixels.unsqueeze(0) if grey else pixels.permute(2, 0, 1).contiguous()


def _eight_bits(values: np.ndarray) -> np.ndarray:
    # PIL's own conversion clips 16-bit grey images at 255 instead of scaling them.
    scale = 257 if values.max(initial=0) > 255 else 1
    return np.clip(np.rint(values / scale), 0, 255).astype(np.uint8)


def _checked(image: Tensor) -> Tensor:
    pixels = image.unsqueeze(0) if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise UserError(f"an image has shape {tuple(image.shape)}: expected 1 or 3 channels, height and width")
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.is_floating_point() or pixels.min() < 0 or pixels.max() > 1:
        span = f"{pixels.dtype} in {pixels.min():.3g}..{pixels.max():.3g}"
        raise UserError(f"an image is {span}: return raw pixels, uint8 or float in 0..1, without normalisation")
    return (pixels * 255).round().to(torch.uint8)

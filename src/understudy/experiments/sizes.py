"""The size at which a model sees the images: pixels, or a part of what the data gives."""

from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator


def _checked(size: int | float | str | list[int]) -> int | float | str | list[int]:
    if not _is_valid(size):
        raise ValueError("give pixels (16), [height, width] or a part of the data's size, at most 1.0 (0.5, 1/2)")
    return size


def _is_valid(size: int | float | str | list[int]) -> bool:
    if isinstance(size, list):
        return len(size) == 2 and min(size) >= 1
    if isinstance(size, int):
        return size >= 1
    try:
        # No part of it is larger than the whole: 16.0 was meant as 16.
        return 0 < _part(size) <= 1
    except (ValueError, ZeroDivisionError):
        return False


def _part(size: float | str) -> Fraction:
    return Fraction(str(size).replace(" ", ""))


Size = Annotated[int | float | str | list[int], AfterValidator(_checked)]
"""Pixels of a square (16), [height, width], or a part of the size of the batches: with a point (0.5) or as 1/2."""


def height_and_width(size: Size, batch: int) -> tuple[int, int]:
    """Height and width in pixels; a part is rounded to whole pixels, at least one.

    Args:
        size: What the settings say.
        batch: Height and width of the batches in pixels.
    """
    if isinstance(size, list):
        height, width = size
        return height, width
    side = size if isinstance(size, int) else max(1, round(batch * _part(size)))
    return side, side


def largest_side(size: Size | None) -> int | None:
    """How large the images should be at least; None where that is left open."""
    if isinstance(size, list):
        return max(size)
    return size if isinstance(size, int) else None

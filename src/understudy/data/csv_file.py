"""A table of image files and their labels."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from understudy.data.base import DATASETS, ImageData, describe
from understudy.data.partition import WHOLE, arrange
from understudy.data.splits import FileSplit
from understudy.errors import UserError

Row = Mapping[str, str]


@DATASETS.register("csv")
def csv_file(
    *,
    path: str,
    root: str | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    split_seed: int = 0,
) -> ImageData:
    """A CSV file with the columns `path` and `label`, and optionally `split` (train, val, test).

    Args:
        path: The CSV file; its first line names the columns.
        root: The folder that the image paths are relative to; by default the folder of the CSV file.
        validation: Share of the training images to select with, where the file names no such split.
        test: Share of all images to report on, where the file has no splits.
        split_seed: Chooses the images of these shares.

    Raises:
        UserError: The file, a column or an image is missing, an image is listed twice, or the file is no UTF-8 text.
    """
    table = Path(path)
    images = table.parent if root is None else Path(root)
    rows = _read_rows(table)
    _check_files(table, images, rows)
    classes = sorted({row["label"] for row in rows})
    by_split: dict[str, list[Row]] = {}
    for row in rows:
        by_split.setdefault(row.get("split") or WHOLE, []).append(row)
    found = {name: _split(images, chosen, classes) for name, chosen in by_split.items()}
    splits = arrange(found, validation=validation, test=test, seed=split_seed)
    return describe(table.stem, classes, splits=splits)


def _read_rows(table: Path) -> list[Row]:
    if not table.is_file():
        raise UserError(f"no such file '{table}': expected a CSV file with the columns path and label")
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            rows: list[Row] = [*reader]
    except UnicodeDecodeError as error:
        raise UserError(f"{table} is not UTF-8 text ({error.reason}): save it again as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{table} is not a CSV file ({error}): save it again as CSV") from error
    if missing := {"path", "label"} - set(columns):
        raise UserError(f"{table} has no column {' or '.join(sorted(missing))}: its first line is {list(columns)}")
    for number, row in enumerate(rows, 2):
        if not row["path"] or not row["label"]:
            raise UserError(f"{table} line {number} has no path or no label: complete or remove it")
    return rows


def _check_files(table: Path, images: Path, rows: list[Row]) -> None:
    lines: dict[str, int] = {}
    for number, row in enumerate(rows, 2):
        if not (images / row["path"]).is_file():
            raise UserError(f"{table} line {number}: no such image {images / row['path']}; paths start at {images}")
        first = lines.setdefault(os.path.normpath(images / row["path"]), number)
        if first != number:
            raise UserError(f"{table} line {number}: {row['path']} stands in line {first} already: list it once")


def _split(images: Path, rows: list[Row], classes: list[str]) -> FileSplit:
    ids = {name: label for label, name in enumerate(classes)}
    return FileSplit(images, [row["path"] for row in rows], torch.tensor([ids[row["label"]] for row in rows]))

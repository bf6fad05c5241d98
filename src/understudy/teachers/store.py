"""A teacher's answers on disk: one flat file of rows, each with its own checksum.

A row belongs to one view of one image and is written in place through a memory map. A row is what its checksum says or
it does not exist: what a kill, a full disk or a second writer tore is found when it is read, and made anew. So there
is nothing to lock: readers and writers may come and go, and writers of the same row write the same bytes.
"""

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.record import write_json

VERSION = 1
DESCRIPTION = "description.json"
ROWS = "rows"
CHECK = "check"
# Read when rows are counted or moved in bulk.
CHUNK = 1 << 16

Precision = Literal["fp16", "fp32"]
DTYPES: dict[Precision, str] = {"fp16": "<f2", "fp32": "<f4"}


class Layout(NamedTuple):
    """What a row holds.

    Attributes:
        num_images: Images of the training split, those without labels included.
        fields: Numbers for each image by name: `logits`, and pooled features by layer.
        precision: fp16 keeps 11 bits (at most 0.05 % off, or 3e-8 for numbers below 6e-5); fp32 all.
        topk: Only so many of the largest logits are kept, see `understudy.teachers.topk`; None keeps all.
    """

    num_images: int
    fields: dict[str, int]
    precision: Precision = "fp16"
    topk: int | None = None

    def dtype(self) -> np.dtype[Any]:
        """Of one row: checksum, then the numbers."""
        number = DTYPES[self.precision]
        parts: list[tuple[Any, ...]] = [(CHECK, "<u4")]
        for name, length in self.fields.items():
            if name == "logits" and self.topk is not None:
                parts += [("classes", "<u4", (self.topk,)), ("kept", number, (self.topk + 1,))]
            else:
                parts.append((name, number, (length,)))
        return np.dtype(parts)

    def num_bytes(self, views: int) -> int:
        """What `views` views of all images take on disk."""
        return views * self.num_images * self.dtype().itemsize


def shown_size(num_bytes: int) -> str:
    """For a reader: kB, MB or GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:,.1f} {unit}"
    return f"{num_bytes / 1e3:,.1f} kB"


class Count(NamedTuple):
    """What is in a store.

    Attributes:
        views: Views there is room for.
        filled: Rows that are there.
        damaged: Rows whose checksum is wrong; they are made anew when they are needed.
    """

    views: int
    filled: int
    damaged: int


class TargetStore:
    """A folder with a description and one memory-mapped file of rows, by view and image.

    Args:
        path: The folder, as `create` or an earlier run made it.

    Raises:
        UserError: It is no store, is damaged, or was written by another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = read_description(path)
        self.layout = Layout(**self.description["layout"])
        self.writable = os.access(path / ROWS, os.W_OK)
        self._dtype = self.layout.dtype()
        self._rows = self._map()

    @classmethod
    def create(cls, path: Path, key: Mapping[str, Any], layout: Layout) -> Self:
        """Make an empty store, or open the one that is there.

        Args:
            path: The folder.
            key: What decides about the rows; kept as a description.
            layout: What a row holds.

        Raises:
            UserError: The folder cannot be written.
        """
        if path.exists() and not _is_sound(path, layout):
            # Its name is a hash: it was nothing else than this store before it was damaged.
            shutil.rmtree(path, ignore_errors=True)
        if not (path / DESCRIPTION).exists():
            description = {"version": VERSION, "key": dict(key), "layout": layout._asdict()}
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _create(path, description)
            except OSError as error:
                raise UserError(f"cannot create '{path}': {error.strerror}; choose another cache.path") from error
        return cls(path)

    @property
    def views(self) -> int:
        """Views there is room for."""
        return len(self._rows)

    def reserve(self, views: int) -> None:
        """Make room on the disk, now rather than in the middle of a run.

        Raises:
            UserError: The disk is full.
        """
        if views > self.views and self.writable:
            try:
                _grow(self.path / ROWS, self.layout.num_bytes(views))
            except OSError as error:
                wanted = shown_size(self.layout.num_bytes(views))
                raise UserError(
                    f"no room for {wanted} in '{self.path}': {error.strerror}; "
                    "choose another cache.path, fewer data.views, or cache.topk"
                ) from error
            self._rows = self._map()

    def read(self, view: Tensor, index: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Rows by view and image.

        Args:
            view: (batch,), int64, on the host; -1 and views without room are missing.
            index: (batch,), int64, on the host.

        Returns:
            Numbers (batch, length), float32, by field; and whether each row is there (batch,), bool. What is missing
            holds anything.
        """
        rows, there = self._checked(view, index)
        return self._unpack(rows), torch.from_numpy(there)

    def write(self, view: Tensor, index: Tensor, values: Mapping[str, Tensor]) -> int:
        """Write rows; those outside the reserved views, or with numbers too large for the precision, are left out.

        Somebody else's store that may only be read stays as it is.

        Args:
            view: (batch,), int64, on the host.
            index: (batch,), int64, on the host.
            values: (batch, length) by field.

        Returns:
            How many rows hold numbers that are too large.
        """
        if not self.writable:
            return 0
        rows = self._pack(values)
        finite = np.ones(len(rows), bool)
        for name in rows.dtype.names or ():
            finite &= np.isfinite(rows[name]).reshape(len(rows), -1).all(1)
        places = finite & ((view >= 0) & (view < self.views)).numpy()
        rows, ours, theirs = rows[places], view.numpy()[places], index.numpy()[places]
        rows[CHECK] = _checksums(rows, ours, theirs)
        self._rows[ours, theirs] = rows
        return int((~finite).sum())

    def rounded(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `read` would give back, so that a first run equals a later one; what cannot be kept stays as it is."""
        kept = self._unpack(self._pack(values))
        return {
            name: torch.where(kept[name].isfinite(), kept[name], value.float().cpu()) for name, value in values.items()
        }

    def missing(self, view: int, index: Tensor) -> Tensor:
        """Those of some images (n,), int64, that have no row that can be trusted."""
        return index[~torch.from_numpy(self._checked(torch.full_like(index, view), index)[1])]

    def written(self) -> Tensor:
        """View and image (2, rows), int64, of every row that was written, damaged ones as well."""
        found = [np.nonzero(row[CHECK])[0] for row in self._rows]
        views = np.repeat(np.arange(len(found)), [len(part) for part in found])
        return torch.from_numpy(np.stack([views, np.concatenate([*found, np.zeros(0, np.int64)])]).astype(np.int64))

    def count(self) -> Count:
        """Read everything and check it."""
        blocks = torch.arange(self.layout.num_images).split(CHUNK)
        gone = sum(len(self.missing(view, block)) for view in range(self.views) for block in blocks)
        there = self.views * self.layout.num_images - gone
        return Count(self.views, there, self.written().shape[1] - there)

    def clear(self) -> None:
        """Forget all rows: they were answers of something else."""
        if self.writable:
            self._rows[CHECK] = 0

    def touch(self) -> None:
        """Note that it is used today."""
        if self.writable:
            (self.path / DESCRIPTION).touch()

    def flush(self) -> None:
        """Write to the disk what the system still holds in memory."""
        if self.views:
            self._rows.flush()

    def _checked(self, view: Tensor, index: Tensor) -> tuple[Any, Any]:
        """Rows, and whether each can be trusted."""
        rows = np.zeros(len(index), self._dtype)
        places = ((view >= 0) & (view < self.views)).numpy()
        rows[places] = self._rows[view.numpy()[places], index.numpy()[places]]
        there = rows[CHECK] != 0
        there[there] = rows[CHECK][there] == _checksums(rows[there], view.numpy()[there], index.numpy()[there])
        return rows, there

    def _map(self) -> Any:
        size = self._dtype.itemsize * self.layout.num_images
        views = (self.path / ROWS).stat().st_size // size
        if not views:
            return np.zeros((0, self.layout.num_images), self._dtype)
        mode = "r+" if self.writable else "r"
        return np.memmap(self.path / ROWS, self._dtype, mode=mode, shape=(views, self.layout.num_images))

    def _pack(self, values: Mapping[str, Tensor]) -> Any:
        from understudy.teachers.topk import keep_largest

        found = {name: value.detach().float().cpu() for name, value in values.items()}
        if self.layout.topk is not None:
            found["classes"], found["kept"] = keep_largest(found.pop("logits"), self.layout.topk)
        rows = np.zeros(len(next(iter(found.values()))), self._dtype)
        with np.errstate(over="ignore"):
            for name, value in found.items():
                rows[name] = value.numpy()
        return rows

    def _unpack(self, rows: Any) -> dict[str, Tensor]:
        from understudy.teachers.topk import spread_rest

        names = [name for name in rows.dtype.names if name not in (CHECK, "classes")]
        found = {name: torch.from_numpy(rows[name].astype(np.float32)) for name in names}
        if self.layout.topk is not None:
            classes = torch.from_numpy(rows["classes"].astype(np.int64))
            found["logits"] = spread_rest(classes, found.pop("kept"), self.layout.fields["logits"])
        return found


def read_description(path: Path) -> dict[str, Any]:
    """What a store says about itself.

    Raises:
        UserError: It is no store, or was written by another version.
    """
    try:
        description = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        version = description["version"]
        if version == VERSION:
            Layout(**description["layout"])
            (path / ROWS).stat()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is no cache of a teacher's answers: delete it, or choose another path") from error
    if version != VERSION:
        raise UserError(f"the cache '{path}' has format {version}, not {VERSION}: delete it and build it again")
    return description


def _is_sound(path: Path, layout: Layout) -> bool:
    try:
        return TargetStore(path).layout == layout
    except UserError:
        return False


def _create(path: Path, description: Mapping[str, Any]) -> None:
    """Under another name first: nobody sees half a store."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        write_json(temporary / DESCRIPTION, description)
        (temporary / ROWS).touch()
        temporary.chmod(0o755)
        temporary.rename(path)
    except OSError:
        # Somebody else was faster, which is as good.
        if not (path / DESCRIPTION).exists():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _grow(path: Path, size: int) -> None:
    """Never shrinks a file, whoever else makes it larger; a full disk fails here and not at a later write."""
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        while file.tell() < size:
            file.write(bytes(min(size - file.tell(), 1 << 24)))


def _checksums(rows: Any, view: Any, index: Any) -> Any:
    """CRC-32 of each row and its place (a row in the wrong place is wrong); 0 is kept for rows that are not there."""
    size, content = rows.dtype.itemsize, memoryview(rows.tobytes())
    places = (view * 0x9E3779B1 + index) & 0xFFFFFFFF
    found = [
        zlib.crc32(content[start + 4 : start + size], place) or 1
        for start, place in zip(range(0, len(content), size), places.tolist(), strict=True)
    ]
    return np.array(found, np.uint32)

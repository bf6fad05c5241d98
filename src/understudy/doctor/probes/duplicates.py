"""Images that stand in two splits, or twice with different labels."""

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256

from understudy.data import FileSplit, PixelSplit, Split
from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, error, ok, warning
from understudy.doctor.probe import PROBES

Places = dict[bytes, list[int]]

# Share of a held-out split above which its accuracy means nothing.
MUCH = 0.1
# Files whose size is looked up, for each image that is read.
SIZES_PER_IMAGE = 50
MAX_SHOWN = 3


@PROBES.register("duplicates")
def duplicates(case: Case) -> Iterator[Finding]:
    """Training images among those held out are a warning, many of them an error.

    Images in memory are compared pixel by pixel, all of them; files byte by byte, where sizes are equal; others pixel
    by pixel, as many as are looked at.
    """
    splits = {"training": case.data.train, "validation": case.data.val, "test": case.data.test}
    contents = _contents(splits, case.images)
    looked_at = {name: sum(map(len, places.values())) for name, places in contents.items()}
    clean = True
    for name, source in (("validation", "training"), ("test", "training"), ("test", "validation")):
        shared = [place for key, places in contents[name].items() if key in contents[source] for place in places]
        if shared:
            clean = False
            yield _leak(name, source, shared, splits[name], looked_at[name])
    conflicts = _conflicts(contents["training"], splits["training"])
    if conflicts:
        yield warning(
            "the same training images have different labels",
            f"{len(conflicts)} images, among them {_shown(conflicts, splits['training'])}",
            "keep one label of each",
        )
    elif clean:
        numbers = ", ".join(f"{count:,} {name}" for name, count in looked_at.items())
        yield ok("no image stands in two splits", f"compared: {numbers}")


def _leak(name: str, source: str, shared: list[int], split: Split, looked_at: int) -> Finding:
    share = len(shared) / looked_at
    kind = error if share > MUCH else warning
    return kind(
        f"{source} images are among the {name} images: the accuracy on them says too much",
        f"{len(shared)} of {looked_at:,} ({share:.1%}), among them {_shown(shared, split)}",
        f"remove them from the {source} images",
    )


def _contents(splits: dict[str, Split], limit: int) -> dict[str, Places]:
    """Where each content stands, by split."""
    if not all(isinstance(split, FileSplit) for split in splits.values()):
        return {name: _pixels(split, limit) for name, split in splits.items()}
    files = {name: split for name, split in splits.items() if isinstance(split, FileSplit)}
    sizes = {name: _sizes(split, limit * SIZES_PER_IMAGE) for name, split in files.items()}
    counts = Counter(size for found in sizes.values() for size in found.values())
    return {name: _bytes(split, sizes[name], counts, limit) for name, split in files.items()}


def _pixels(split: Split, limit: int) -> Places:
    found: Places = {}
    for place in range(len(split)) if isinstance(split, PixelSplit) else _spread(len(split), limit):
        image = split.read(place)
        found.setdefault(sha256(image.contiguous().numpy().tobytes()).digest(), []).append(place)
    return found


def _sizes(split: FileSplit, limit: int) -> dict[int, int]:
    return {place: (split.root / split.paths[place]).stat().st_size for place in _spread(len(split), limit)}


def _bytes(split: FileSplit, sizes: dict[int, int], counts: Counter[int], limit: int) -> Places:
    """Contents of files; one whose size no other has is told apart by it, and not read."""
    found: Places = {}
    read = 0
    for place, size in sizes.items():
        if counts[size] > 1 and read == limit:
            continue
        key = f"{size} bytes at {place} of {split.root}".encode()
        if counts[size] > 1:
            key, read = sha256((split.root / split.paths[place]).read_bytes()).digest(), read + 1
        found.setdefault(key, []).append(place)
    return found


def _conflicts(contents: Places, split: Split) -> list[int]:
    alike = [places for places in contents.values() if len(places) > 1]
    return [place for places in alike if len(split.labels[places].unique()) > 1 for place in places]


def _spread(num: int, limit: int) -> list[int]:
    """At most so many places, evenly spaced."""
    count = min(num, limit)
    return [number * num // count for number in range(count)]


def _shown(places: list[int], split: Split) -> str:
    names = [split.paths[place] if isinstance(split, FileSplit) else f"image {place}" for place in places[:MAX_SHOWN]]
    return ", ".join(names)

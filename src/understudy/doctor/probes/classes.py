"""Whether every class has images, and about as many as the others."""

from collections.abc import Iterator, Sequence

import torch

from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, note, ok, warning
from understudy.doctor.probe import PROBES

# Images of the largest class for one of the smallest.
NOTEWORTHY, MUCH = 3.0, 10.0
MAX_SHOWN = 5


@PROBES.register("classes")
def classes(case: Case) -> Iterator[Finding]:
    """Classes without images in a split, and classes that outweigh others tenfold, are warnings."""
    data = case.data
    splits = {"training": data.train, "validation": data.val, "test": data.test}
    counts = {name: torch.bincount(split.labels, minlength=len(data.classes)) for name, split in splits.items()}
    clean = True
    for name, count in counts.items():
        absent = [data.classes[label] for label in (count == 0).nonzero().squeeze(1).tolist()]
        if absent and len(splits[name]):
            clean = False
            yield _absent(name, absent, len(data.classes))
    present = counts["training"][counts["training"] > 0]
    ratio = (present.max() / present.min()).item()
    evidence = f"{int(present.min()):,} to {int(present.max()):,} training images a class, {len(data.classes)} classes"
    if ratio >= NOTEWORTHY and case.settings.data["sampling"] == "uniform":
        kind = warning if ratio >= MUCH else note
        yield kind(
            f"the largest class has {ratio:.3g} times the images of the smallest", evidence, "data.sampling=balanced"
        )
    elif clean:
        yield ok("every class has its images in every split", evidence)


def _absent(name: str, absent: Sequence[str], num_classes: int) -> Finding:
    more = ", ..." if len(absent) > MAX_SHOWN else ""
    fix = {
        "training": "images of these classes, or data without them",
        "validation": "a larger data.validation: these classes do not count when the epoch is selected",
        "test": "test images of these classes: the accuracy says nothing about them",
    }[name]
    return warning(
        f"no {name} image of {', '.join(absent[:MAX_SHOWN])}{more}", f"{len(absent)} of {num_classes} classes", fix
    )

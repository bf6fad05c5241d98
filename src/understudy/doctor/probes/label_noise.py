"""Labels that a sure teacher contradicts."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from understudy.data import FileSplit, Split
from understudy.doctor.better import clearly_better
from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, note, ok, warning
from understudy.doctor.order import right_in_best_order
from understudy.doctor.probe import PROBES
from understudy.evaluation.intervals import share_interval
from understudy.evaluation.predictions import Predictions

# Share of the images that the teacher is surest about: a good one is hardly ever wrong there, at any temperature.
SUREST = 0.25
# Wrong labels among these, at least, with 95 % confidence.
NOTEWORTHY = 0.01
# A teacher that is wrong more often says little about labels.
MIN_ACCURACY = 0.6
MAX_SHOWN = 3


class _Doubts(NamedTuple):
    """Images that the teacher is surest about and whose labels it contradicts.

    Attributes:
        looked_at: How many images it is surest about.
        places: Those with another label, the clearest first, by position.
        said: What the teacher takes them for.
        low: Lower end of the 95 % interval of their share.
    """

    looked_at: int
    places: Tensor
    said: Tensor
    low: float


@PROBES.register("label-noise")
def label_noise(case: Case) -> Iterator[Finding]:
    """A warning where more than 1 % of the labels that the teacher is surest about are others.

    On training images that the teacher learnt by heart nothing shows; it has never seen the validation images.
    """
    seen = case.able(case.teacher)
    if seen is None or not _trustworthy(seen):
        return
    for split in ("train", "val"):
        doubts = _doubts(case.answers(case.teacher, split))
        yield _judged(split, doubts, case)


def _trustworthy(seen: Predictions) -> bool:
    """Whether the teacher is good, and its classes are the data's."""
    own, other = right_in_best_order(seen)
    return own.double().mean().item() >= MIN_ACCURACY and not clearly_better(other, own)


def _doubts(seen: Predictions) -> _Doubts:
    log_probability = seen.logits.double().log_softmax(1)
    sureness, said = log_probability.max(1)
    count = max(1, round(SUREST * len(sureness)))
    # Of many that are as sure as can be the gap to the second is larger for the surer ones.
    second = log_probability.kthvalue(log_probability.shape[1] - 1, dim=1).values
    surest = (sureness - second).topk(count).indices
    wrong = surest[said[surest] != seen.labels[surest]]
    contradiction = sureness[wrong] - log_probability[wrong, seen.labels[wrong]]
    wrong = wrong[contradiction.argsort(descending=True)]
    return _Doubts(count, wrong, said[wrong], share_interval(len(wrong), count).low)


def _judged(split: str, doubts: _Doubts, case: Case) -> Finding:
    name = {"train": "training", "val": "validation"}[split]
    count = len(doubts.places)
    evidence = (
        f"{count} of the {doubts.looked_at:,} {name} images that it is surest about ({count / doubts.looked_at:.1%})"
    )
    if not count:
        return ok(f"the teacher contradicts no {name} label that it is sure about", evidence)
    shown = "; ".join(_example(case, split, doubts, number) for number in range(min(count, MAX_SHOWN)))
    evidence = f"{evidence}: {shown}"
    if doubts.low < NOTEWORTHY:
        return note(f"the teacher is sure that a few {name} labels are wrong", evidence, "look at these images")
    whole = len(case.data.train if split == "train" else case.data.val)
    return warning(
        f"{name} labels look wrong: about {round(whole * count / doubts.looked_at):,} of {whole:,}",
        evidence,
        "correct or remove them; label.weight=0 learns from the teacher alone",
    )


def _example(case: Case, split: str, doubts: _Doubts, number: int) -> str:
    place = int(case.places[split][doubts.places[number]])
    part: Split = getattr(case.data, split)
    label, said = case.data.classes[int(part.labels[place])], case.data.classes[int(doubts.said[number])]
    where = part.paths[place] if isinstance(part, FileSplit) else f"image {place}"
    return f"{where} is labelled {label}, looks like {said}"

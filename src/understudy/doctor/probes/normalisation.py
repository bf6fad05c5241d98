"""Whether the teacher sees the pixels as it did in its own training."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from understudy.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier, InputSpec, Preprocess
from understudy.data import ImageData
from understudy.doctor.better import MIN_GAIN, clearly_better, is_trained
from understudy.doctor.case import Case, Member, watched
from understudy.doctor.finding import Finding, error, note, ok
from understudy.doctor.probe import PROBES
from understudy.evaluation.per_image import hits
from understudy.evaluation.predictions import collect_predictions
from understudy.experiments.assembly import Assembly
from understudy.experiments.settings import OBJECT
from understudy.models.saved import is_saved

# Every candidate is tried on so many images, the best one then on all.
SCREENED = 256


class _Reversed(Preprocess):
    """Colours in the order blue, green, red, as OpenCV reads them."""

    def forward(self, image: Tensor) -> Tensor:
        """As `Preprocess`, with the channels turned round."""
        return super().forward(image).flip(1)


class _Candidate(NamedTuple):
    title: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    reverse: bool = False

    def preprocess(self, spec: InputSpec) -> Preprocess:
        kind = _Reversed if self.reverse else Preprocess
        return kind(replace(spec, mean=self.mean, std=self.std))


@PROBES.register("normalisation")
def normalisation(case: Case) -> Iterator[Finding]:
    """An error where another normalisation that is in use makes the teacher clearly better."""
    for member in case.members:
        assert case.teaching is not None
        own = hits(case.answers(member.model, "val", member.title))
        yield _judged(case.teaching, member, own)


def _judged(made: Assembly, member: Member, own: Tensor) -> Finding:
    best, accuracy = _screened(made, member)
    num_classes, spec = len(made.data.classes), member.model.spec
    evidence = f"{_share(own):.2%} with mean {_text(spec.mean)}, std {_text(spec.std)}"
    if accuracy >= _share(own[:SCREENED]) + MIN_GAIN:
        found = _right_with(made, member, best, len(own))
        evidence += f"; {_share(found):.2%} with mean {_text(best.mean)}, std {_text(best.std)}"
        evidence += ", BGR" if best.reverse else ""
        if clearly_better(found, own) and is_trained(found, num_classes):
            what = f"the {member.title} wants another normalisation: {best.title}"
            return error(what, evidence, _fix(member, best))
    else:
        evidence += f"; at most {accuracy:.2%} with others, on {min(SCREENED, len(own))} images"
    if is_trained(own, num_classes):
        return ok(f"the {member.title}'s normalisation suits it", evidence)
    return note(f"no other normalisation makes the {member.title} good", evidence)


def _candidates(spec: InputSpec, data: ImageData) -> list[_Candidate]:
    """What is in use, but for what the teacher has."""
    plain = [
        _Candidate("that of the data", _fitted(data.mean, spec), _fitted(data.std, spec)),
        _Candidate("ImageNet's", _fitted(IMAGENET_MEAN, spec), _fitted(IMAGENET_STD, spec)),
        _Candidate("pixels in -1..1", _fitted((0.5,), spec), _fitted((0.5,), spec)),
        _Candidate("pixels in 0..1", _fitted((0.0,), spec), _fitted((1.0,), spec)),
        _Candidate("pixels in 0..255", _fitted((0.0,), spec), _fitted((1 / 255,), spec)),
        _Candidate("ImageNet's mean, in 0..255", _fitted(IMAGENET_MEAN, spec), _fitted((1 / 255,), spec)),
    ]
    return [candidate for candidate in plain if candidate[1:3] != (spec.mean, spec.std)]


def _fitted(values: tuple[float, ...], spec: InputSpec) -> tuple[float, ...]:
    """One value for each channel."""
    if len(values) == spec.channels:
        return values
    return (round(sum(values) / len(values), 6),) * spec.channels


def _screened(made: Assembly, member: Member) -> tuple[_Candidate, float]:
    """The best candidate on a few images, with its accuracy there."""
    spec = member.model.spec
    tried = {candidate: _few(made, member, candidate) for candidate in _candidates(spec, made.data)}
    if spec.channels == made.data.channels == 3:
        best = max(tried, key=lambda candidate: tried[candidate])
        for plain in (best, _Candidate("its own", spec.mean, spec.std)):
            turned = plain._replace(title=f"{plain.title}, in BGR", reverse=True)
            tried[turned] = _few(made, member, turned)
    best = max(tried, key=lambda candidate: tried[candidate])
    return best, tried[best]


def _few(made: Assembly, member: Member, candidate: _Candidate) -> float:
    return _share(_right_with(made, member, candidate, SCREENED))


def _right_with(made: Assembly, member: Member, candidate: _Candidate, count: int) -> Tensor:
    batches = watched(made, "val", f"{member.title} with {candidate.title}", most=count)
    with _seeing(member.model, candidate.preprocess(member.model.spec).to(made.device)):
        return hits(collect_predictions(member.model, batches))


@contextmanager
def _seeing(model: Classifier, preprocess: Preprocess) -> Generator[None]:
    before = model.preprocess
    model.preprocess = preprocess
    try:
        yield
    finally:
        model.preprocess = before


def _fix(member: Member, best: _Candidate) -> str:
    values = f"mean={_text(best.mean)} std={_text(best.std)}"
    if best.reverse:
        return f"a network that turns the channels round, `image.flip(1)`, by teacher=FILE.py:FUNCTION, with {values}"
    if is_saved(member.name) or member.name.startswith(OBJECT):
        return f"build or save the Classifier with InputSpec({values.replace(' ', ', ')})"
    return " ".join(f"teacher.{part}" for part in values.split(" "))


def _text(values: tuple[float, ...]) -> str:
    return f"[{','.join(f'{value:.6g}' for value in values)}]"


def _share(flags: Tensor) -> float:
    return flags.double().mean().item()

"""Whether every loss term pulls at the student, and everything that could train is trained."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from understudy.distiller import LABEL_TERM, Distiller
from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, error, note, ok, warning
from understudy.doctor.probe import PROBES
from understudy.errors import UserError
from understudy.experiments.training import SMALL_SHARE, Training
from understudy.methods.base import Method
from understudy.reach import reached_parameters

# Of the gradient norm, that a term is given by the fix.
WANTED_SHARE = 0.1
# Of the gradient norm, from which another term has to be made smaller.
DROWNING = 0.9
MAX_SHOWN = 3


@PROBES.register("loss-terms")
def loss_terms(case: Case) -> Iterator[Finding]:
    """A term without a gradient is an error, one that hardly counts a warning, and so is what no term trains."""
    made = case.made
    training = case.training
    try:
        training.prepare()
    except UserError as refusal:
        yield error(str(refusal))
        return
    for stage, shares in training.shares.items():
        where = "" if stage == "train" else f" of stage {stage}"
        yield from _shares(shares, where, made.distiller, made.settings.method)
    yield from _unreached(training, made.distiller)


def _shares(
    shares: Mapping[str, float], where: str, distiller: Distiller, chosen: list[dict[str, Any]]
) -> Iterator[Finding]:
    present = {term: share for term, share in shares.items() if share > 0}
    evidence = ", ".join(f"{term} {share:.2%}" for term, share in present.items())
    small = [term for term, share in present.items() if share < SMALL_SHARE]
    for term in small:
        fix = _mended(term, present, distiller, chosen)
        what = f"the term {term} hardly counts{where}"
        # To learn from the teacher alone is a choice that methods make.
        kind = note if term == LABEL_TERM else warning
        yield kind(what, f"shares of the gradient norm: {evidence}", fix)
    if not small:
        yield ok(f"every loss term{where} reaches the student", f"shares of the gradient norm: {evidence}")


def _mended(term: str, shares: Mapping[str, float], distiller: Distiller, chosen: list[dict[str, Any]]) -> str:
    """A weight for the term that hardly counts, or for a method's term that drowns all others."""
    largest = max(shares, key=lambda name: shares[name])
    if largest != LABEL_TERM and shares[largest] > DROWNING:
        return _weight(largest, shares[largest], 0.5, distiller, chosen)
    return _weight(term, shares[term], WANTED_SHARE, distiller, chosen)


def _weight(term: str, share: float, wanted: float, distiller: Distiller, chosen: list[dict[str, Any]]) -> str:
    """The setting that gives a term a share of the gradient, if one sets it."""
    factor = wanted / (1 - wanted) * (1 - share) / share
    purpose = f"for {wanted:.0%} of the gradient"
    if term == LABEL_TERM:
        return f"label.weight={distiller.label_weight.item() * factor:.2g} {purpose}"
    for settings, method in zip(chosen, distiller.methods, strict=True):
        assert isinstance(method, Method)
        if term in method.terms:
            weight = method.weight(term).item()
            key = _key(term, weight, settings)
            name = f"method.{settings['name']}" if len(chosen) > 1 else "method"
            return f"{name}.{key}={weight * factor:.2g} {purpose}" if key else f"another weight of {term} in {name}"
    raise AssertionError(term)


def _key(term: str, weight: float, settings: Mapping[str, Any]) -> str | None:
    """The setting that is a term's weight: by its name, and by its value, since a wrong hint is worse than none."""
    own = term.rpartition("_")[2]
    keys = [key for key in (f"{own}_weight", own, "weight") if isinstance(settings.get(key), int | float)]
    return next((key for key in keys if abs(settings[key] - weight) <= 1e-6 * abs(weight)), None)


def _unreached(training: Training, distiller: Distiller) -> Iterator[Finding]:
    trainable = {name: p for name, p in distiller.named_parameters() if p.requires_grad}
    reached: set[nn.Parameter] = set()
    for stage in distiller.stages():
        distiller.begin(stage)
        reached.update(reached_parameters(distiller, training.sample, training.targets))
    idle = {name: parameter for name, parameter in trainable.items() if parameter not in reached}
    if not idle:
        yield ok("every trainable parameter is reached by a loss term", f"{len(trainable)} tensors")
        return
    more = ", ..." if len(idle) > MAX_SHOWN else ""
    names = [name.removeprefix("student.model.network.") for name in list(idle)[:MAX_SHOWN]]
    count = sum(parameter.numel() for parameter in idle.values())
    yield warning(
        f"no loss term trains {', '.join(names)}{more}",
        f"{count:,} of {sum(p.numel() for p in trainable.values()):,} trainable parameters, in {len(idle)} tensors",
        "remove them from the network, or name what should train in student.train=[...]",
    )

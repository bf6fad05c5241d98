"""Whether the teacher's answers to the training images say more than their labels."""

from collections.abc import Iterator

from understudy.doctor.better import MIN_ERRORS
from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, note, ok, warning
from understudy.doctor.probe import PROBES
from understudy.evaluation.accuracy import top_accuracy
from understudy.evaluation.predictions import Predictions
from understudy.experiments.settings import RunSettings

# Probability outside the largest class, averaged over images: with less, targets are labels.
LITTLE, ENOUGH = 0.005, 0.05
MAX_TEMPERATURE = 64.0
# Points between training and validation accuracy.
LARGE_GAP = 0.2


@PROBES.register("soft-targets")
def soft_targets(case: Case) -> Iterator[Finding]:
    """A warning where they are nearly one-hot, or the teacher is worse on its training images than on others."""
    if case.able(case.teacher) is None:
        return
    train, val = case.answers(case.teacher, "train"), case.answers(case.teacher, "val")
    softening = _softening(case.settings)
    yield _gap(train, val, hard=softening is not None and _rest(train, softening[1]) < LITTLE)
    if softening is not None:
        yield _sharpness(train, *softening)


def _gap(train: Predictions, val: Predictions, *, hard: bool) -> Finding:
    accuracy = {"training": top_accuracy(train), "validation": top_accuracy(val)}
    gap = accuracy["training"] - accuracy["validation"]
    evidence = f"{accuracy['training']:.2%} on training, {accuracy['validation']:.2%} on validation images"
    if gap > LARGE_GAP and not hard:
        return note("the teacher is much better on its training images than on others", evidence)
    if gap > LARGE_GAP:
        return warning(
            "the teacher knows its training images by heart: its targets for them are labels",
            evidence,
            "a teacher trained with more augmentation or fewer epochs; data.unlabelled=FOLDER adds other images",
        )
    shared = sum(hits * (1 - hits) for hits in accuracy.values()) / min(len(train.labels), len(val.labels))
    if -gap > MIN_ERRORS * shared**0.5 + 0.01:
        return warning(
            "the teacher is better on the validation images: it may have been trained on them",
            evidence,
            "the same data.split_seed and data.validation as for the teacher",
        )
    return ok("the teacher is about as good on training as on validation images", evidence)


def _sharpness(train: Predictions, key: str, temperature: float) -> Finding:
    rest = _rest(train, temperature)
    evidence = f"at temperature {temperature:g} all but the largest class share {rest:.2%} on training images"
    if rest >= LITTLE:
        return ok("the teacher's targets say more than labels", evidence)
    softer = temperature
    while softer < MAX_TEMPERATURE and _rest(train, softer) < ENOUGH:
        softer *= 2
    kind = warning if temperature > 1 else note
    fix = f"{key}={softer:g} (then {_rest(train, softer):.2%})"
    return kind("the teacher's targets are nearly one-hot: they say what labels say", evidence, fix)


def _rest(predictions: Predictions, temperature: float) -> float:
    probabilities = (predictions.logits.double() / temperature).softmax(1)
    return (1 - probabilities.amax(1)).mean().item()


def _softening(settings: RunSettings) -> tuple[str, float] | None:
    """The temperature of the first method that softens, below its setting; None where all standardise, or none does."""
    for method in settings.method:
        temperature = method.get("temperature")
        if isinstance(temperature, int | float) and method.get("logits", "raw") == "raw":
            where = f"method.{method['name']}" if len(settings.method) > 1 else "method"
            return f"{where}.temperature", float(temperature)
    return None

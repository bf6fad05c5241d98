"""Whether the teacher is as sure as it is right."""

from collections.abc import Iterator

from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, note, ok, warning
from understudy.doctor.probe import PROBES
from understudy.evaluation.accuracy import negative_log_likelihood
from understudy.evaluation.calibration import calibration_error
from understudy.evaluation.noise_floor import noise_floors
from understudy.evaluation.predictions import Predictions
from understudy.evaluation.temperature import fit_temperature

# Temperatures nearer to 1 change little.
NOTEWORTHY, LARGE = 1.5, 4.0
# Of labels, for how large a calibration error chance makes.
SAMPLES = 100
# Where every image is right, the temperature falls without end and says nothing.
MIN_GAIN = 0.01


@PROBES.register("calibration")
def calibration(case: Case) -> Iterator[Finding]:
    """A note where a temperature makes the labels of other images more likely; a warning where it is far from 1."""
    for member in case.members:
        seen = case.able(member.model, member.title)
        if seen is None:
            continue
        # In random order. On the images that it was fitted to any temperature looks good.
        half = len(seen.labels) // 2
        first, second = (Predictions(seen.logits[part], seen.labels[part]) for part in (slice(half), slice(half, None)))
        temperature = fit_temperature(first)
        cooled = second._replace(logits=second.logits / temperature)
        before, after = negative_log_likelihood(second), negative_log_likelihood(cooled)
        evidence = (
            f"temperature {temperature:.2f} of one half, on the other: negative log-likelihood {before:.3f} -> "
            f"{after:.3f}, calibration error {calibration_error(second):.3f} -> {calibration_error(cooled):.3f}, "
            f"up to {noise_floors(cooled, num_samples=SAMPLES)['ece'].high:.3f} by chance alone"
        )
        far = max(temperature, 1 / temperature)
        if far < NOTEWORTHY or before - after < MIN_GAIN:
            yield ok(f"the {member.title} is about as sure as it is right", evidence)
        else:
            how = "surer" if temperature > 1 else "less sure"
            kind = warning if far >= LARGE else note
            yield kind(f"the {member.title} is {how} than it is right", evidence, "teacher.temperature=fit")

"""Whether the teacher says the same about an image each time."""

from collections.abc import Iterator

import torch

from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, error, ok
from understudy.doctor.probe import PROBES
from understudy.taps import evaluating

# Of the spread of the logits; roundings stay far below.
TOLERANCE = 0.01


@PROBES.register("steadiness")
def steadiness(case: Case) -> Iterator[Finding]:
    """Answers that change from one call to the next, or with the other images of the batch, are errors."""
    for member in case.members:
        assert case.teaching is not None
        image = case.teaching.sample().image
        # Pairs: of a single image some layers cannot take statistics.
        image = image[: len(image) // 2 * 2]
        with evaluating(member.model), torch.no_grad():
            first, second = member.model(image).float(), member.model(image).float()
            parts = torch.cat([member.model(part).float() for part in image.split(2)])
        spread = first.std().clamp(min=1e-9)
        again, alone = (float((other - first).abs().max() / spread) for other in (second, parts))
        evidence = f"{again:.2g} between two calls, {alone:.2g} between batch and pairs, in deviations of its logits"
        if again > TOLERANCE:
            yield error(
                f"the {member.title} says something else at each call: dropout or noise is on in eval mode",
                evidence,
                "F.dropout(..., training=self.training) in its network",
            )
        elif alone > TOLERANCE:
            yield error(
                f"what the {member.title} says about an image depends on the rest of the batch",
                evidence,
                "BatchNorm with track_running_stats=True in its network, or GroupNorm",
            )
        else:
            yield ok(f"the {member.title} says the same each time", evidence)

"""Whether the student has about the size that a teacher of this size can teach."""

from collections.abc import Iterator

import torch

from understudy.doctor.case import Case
from understudy.doctor.finding import Finding, note, ok, warning
from understudy.doctor.probe import PROBES
from understudy.evaluation.cost import count_macs
from understudy.experiments.tables import count_text
from understudy.models import count_parameters
from understudy.taps import evaluating, network_of

# Times as many parameters and multiply-adds; assistants helped at less (Mirzadeh et al., AAAI 2020).
LARGE_GAP = 50.0


@PROBES.register("capacity")
def capacity(case: Case) -> Iterator[Finding]:
    """A student that costs more than its teacher is a warning; a very small one a note."""
    teacher, student = case.teacher, case.student
    assert case.studying is not None
    image = case.studying.example()
    sizes: list[int] = []
    macs: list[int] = []
    for model in (teacher, student):
        sizes.append(sum(count_parameters(network_of(model))))
        with evaluating(model), torch.no_grad():
            macs.append(count_macs(model, image))
    evidence = (
        f"teacher {count_text(sizes[0])} parameters, {count_text(macs[0])} MACs; "
        f"student {count_text(sizes[1])}, {count_text(macs[1])}"
    )
    if sizes[1] > sizes[0] and macs[1] > macs[0]:
        yield warning("the student is larger than its teacher", evidence, "student=NAME of a smaller model")
    elif macs[1] > macs[0]:
        yield note("the student costs more time than its teacher", evidence, "student=NAME of a cheaper model")
    elif min(sizes[0] / sizes[1], macs[0] / max(macs[1], 1)) > LARGE_GAP:
        yield note(
            f"the student is more than {LARGE_GAP:g} times smaller than its teacher",
            evidence,
            "a larger student, or an assistant between them: understudy chain chain=[MIDDLE,STUDENT]",
        )
    else:
        yield ok("the student is smaller than its teacher", evidence)

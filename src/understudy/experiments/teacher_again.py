"""The teacher of a finished run, built once more."""

from collections.abc import Sequence

from torch import nn

from understudy.errors import UserError
from understudy.experiments.assembly import Assembly
from understudy.experiments.provenance import weights_hash
from understudy.experiments.settings import resolve
from understudy.experiments.teaching import build_teacher
from understudy.record import RunDirectory
from understudy.teachers import AdjustedClassifier, members_of


def build_again(directory: RunDirectory, made: Assembly, temperatures: Sequence[float]) -> nn.Module:
    """The teacher as it taught, on the device of `made`.

    Args:
        directory: The run.
        made: Gives classes, sizes and device.
        temperatures: Those that were fitted, one for each member.

    Raises:
        UserError: It is not there any more, has changed since, or does not know the classes of the data.
    """
    teacher = build_teacher(resolve("distill", [directory.config], []), None, made.data, made.size)
    if teacher is None:
        raise UserError("the settings name none")
    before = (directory.read_provenance().get("teacher") or {}).get("sha256")
    if before != weights_hash(teacher):
        raise UserError("its weights have changed since the run")
    for member, temperature in zip(members_of(teacher), temperatures, strict=False):
        assert isinstance(member, AdjustedClassifier)
        member.set_temperature(temperature)
    return teacher.to(made.device).eval()

"""Settings of students that teach each other: those of each student's run, and how they learn together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from understudy.cohort import Peers
from understudy.config import Settings, Shape, Tree, layered, validated
from understudy.engine.cohort_trainer import Updates
from understudy.errors import UserError
from understudy.experiments.settings import RunSettings, resolve
from understudy.yaml_file import read_yaml

Pairs = list[tuple[str, Any]]


class MutualSettings(Settings):
    """How students teach each other.

    Attributes:
        peers: How several peers count: a term for each, `mean` or `sum`; or one term with their average as the teacher,
            of `probabilities` or of `logits` (see `understudy.cohort.Peers`).
        updates: `simultaneous`, or `alternating` as in the paper's Algorithm 1.
        weights: One for each student, by which `method.weight` is multiplied; 0 learns from the labels alone and
            teaches. None is 1 for all.
    """

    peers: Peers = "mean"
    updates: Updates = "simultaneous"
    weights: list[float] | None = None


class OwnSettings(Settings):
    """What a cohort is told besides what its students share.

    Attributes:
        students: Names, or names with settings; two or more.
        optimizers: One for each student in place of `train.optimizer`.
        schedules: One for each student in place of `train.schedule`.
        mutual: How they teach each other.
        out: The run directory; each student has one of its own in it.
    """

    students: list[str | dict[str, Any]] = Field(min_length=2)
    optimizers: list[str | dict[str, Any]] | None = None
    schedules: list[str | dict[str, Any]] | None = None
    mutual: MutualSettings = MutualSettings()
    out: str


class CohortSettings(NamedTuple):
    """A cohort's resolved settings.

    Attributes:
        members: The settings of each student's run, in order; all of one seed, which orders the images. First weights
            come from the seed plus the student's number.
        mutual: How they teach each other.
        out: The run directory of the cohort.
        apart: Which of `optimizers` and `schedules` were given for each student.
    """

    members: tuple[RunSettings, ...]
    mutual: MutualSettings
    out: str
    apart: frozenset[str]

    def tree(self) -> Tree:
        """Plain types, as `config.yaml` holds them; `understudy mutual -c` takes it."""
        trees = [member.tree() for member in self.members]
        # No cache: nobody's answers stay the same.
        common = {key: value for key, value in trees[0].items() if key not in ("student", "teacher", "cache")}
        return {
            **common,
            "students": [tree["student"] for tree in trees],
            **{name: [tree["train"][name.removesuffix("s")] for tree in trees] for name in sorted(self.apart)},
            "mutual": self.mutual.model_dump(mode="json"),
            "out": self.out,
        }


def resolve_cohort(files: Sequence[Path], overrides: Sequence[tuple[str, Any]]) -> CohortSettings:
    """The runs of a cohort, from settings as those of `distill` with `students=[...]` in place of teacher and student.

    Args:
        files: YAML files, later ones over earlier ones.
        overrides: Dotted keys and values, which go over all that files say; beside each other, what is said of one
            student goes over what is said of all.

    Raises:
        UserError: There are fewer than two students, or not one optimizer, schedule or weight for each; a key or a
            value is wrong.
    """
    said = _Said.of([pair for path in files for pair in read_yaml(path).items()]), _Said.of(overrides)
    tree = layered({}, [], [pair for each in said for pair in each.own], Shape())
    common = [pair for each in said for pair in each.common]
    if not tree.get("students"):
        raise UserError("'students' is missing: set for example students=[cnn-xs,cnn-xs]")
    if any(pair[0] in ("student", "model", "student.name", "model.name") for pair in common):
        raise UserError("students=[...] names the students: leave out student=")
    chosen = validated(OwnSettings, {"out": _default_out(tree["students"], common), **tree})
    _check_one_each(chosen)
    members = [_member(chosen, number, *said) for number in range(len(chosen.students))]
    apart = frozenset(name for name in ("optimizers", "schedules") if getattr(chosen, name) is not None)
    return CohortSettings(tuple(members), chosen.mutual, chosen.out, apart)


class _Said(NamedTuple):
    """What files or the command line say: of the cohort and its students one by one, and of all students alike."""

    own: Pairs
    common: Pairs

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, Any]]) -> "_Said":
        mine = {True: list[tuple[str, Any]](), False: list[tuple[str, Any]]()}
        for pair in pairs:
            mine[_head(pair) in OwnSettings.model_fields].append(pair)
        return cls(mine[True], mine[False])

    def names(self, name: str) -> bool:
        """Whether this is where a setting comes from, or would."""
        return any(_head(pair) == name for pair in self.own)


def _member(chosen: OwnSettings, number: int, files: _Said, overrides: _Said) -> RunSettings:
    place = Path(chosen.out) / f"{number}-{_safe(_name(chosen.students[number]))}"
    parts: dict[bool, Pairs] = {False: list(files.common), True: list(overrides.common)}
    wheres = {"students": "student", "optimizers": "train.optimizer", "schedules": "train.schedule"}
    for name, where in wheres.items():
        values: list[str | dict[str, Any]] | None = getattr(chosen, name)
        parts[overrides.names(name)] += _leaves(where, values[number]) if values else []
    return resolve("mutual", [], [*parts[False], *parts[True], ("out", str(place))])


def _leaves(where: str, component: str | dict[str, Any]) -> Pairs:
    """A component as overrides that go over those of all students: the name before its settings."""
    if isinstance(component, str):
        return [(where, component)]
    name = [(where, component["name"])] if "name" in component else []
    return [*name, *((f"{where}.{key}", value) for key, value in component.items() if key != "name")]


def _check_one_each(chosen: OwnSettings) -> None:
    found: dict[str, Sequence[object] | None] = {
        "optimizers": chosen.optimizers,
        "schedules": chosen.schedules,
        "mutual.weights": chosen.mutual.weights,
    }
    for name, values in found.items():
        if values is not None and len(values) != len(chosen.students):
            raise UserError(f"{name} has {len(values)} entries for {len(chosen.students)} students: give one for each")


def _name(student: str | dict[str, Any]) -> str:
    name = student if isinstance(student, str) else student.get("name")
    if not name:
        raise UserError(f"students={student} has no name: set for example students=[cnn-xs,cnn-xs]")
    return str(name)


def _default_out(students: Any, common: Pairs) -> str:
    """As that of a single run: the same command finds its own run again."""
    names = [_name(student) for student in students] if isinstance(students, list) else []
    values = {key: value.get("name") if isinstance(value, dict) else value for key, value in common}
    words = [Path(str(values.get("data", ""))).name, *names, "mutual"]
    return f"runs/{'-'.join(map(_safe, words))}-seed{values.get('seed', 0)}"


def _safe(word: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in word)


def _head(pair: tuple[str, Any]) -> str:
    return pair[0].partition(".")[0]

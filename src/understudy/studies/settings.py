"""Settings of a study, as they are given and as they are resolved."""

from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field

from understudy.config import Settings, Tree
from understudy.errors import UserError, did_you_mean
from understudy.experiments.settings import Command, RunSettings
from understudy.studies.planned import Planned
from understudy.study_record import StudyDirectory

PLAIN, NONE = "plain", "none"
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class StudySettings(Settings):
    """What a study is told besides what its runs have in common.

    Attributes:
        seeds: The seeds of each arm, or how many.
        seed: The first one, where `seeds` is a number.
        folds: Train and validate on each of so many parts of the data in turn, with every seed; the test split stays.
        methods: An arm for each: a method, a method with settings, or a list of methods that teach together.
        arms: Arms by name with their own settings, laid over the common ones.
        grid: Values by dotted key; each arm is divided into one for each combination.
        baseline: What the others are compared with: `plain` adds training on labels alone with everything else equal;
            the name of an arm; or `none`.
        executor: What does the runs, a name or a name with settings.
        out: The directory of the study.
    """

    seeds: Annotated[int, Field(ge=1)] | Annotated[list[Seed], Field(min_length=1)] = 5
    seed: Seed = 1
    folds: int | None = Field(default=None, ge=2)
    methods: Annotated[list[Any], BeforeValidator(_as_list)] = Field(default_factory=list[Any])
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    grid: dict[str, Any] = Field(default_factory=dict[str, Any])
    baseline: str | None = PLAIN
    executor: dict[str, Any]
    out: str | None = None


class Arm(NamedTuple):
    """Runs that differ in nothing but their seed and fold.

    Attributes:
        name: Also that of the directory of its runs.
        command: `train` where it learns from labels alone.
        own: What it says besides the common settings.
        settings: All of a run's settings; seed, fold and directory are those of no run.
        against: The arm it is compared with; None for none.
        plain: Whether it was added to be compared with.
    """

    name: str
    command: Command
    own: Tree
    settings: RunSettings
    against: str | None = None
    plain: bool = False


class Study(NamedTuple):
    """A study's resolved settings.

    Attributes:
        common: What is said of all runs.
        arms: All arms, those added to be compared with first.
        seeds: The seeds of each arm.
        folds: Number of folds; None without.
        baseline: As in the settings; None for none.
        executor: Name and settings of what does the runs.
        directory: Where everything goes.
    """

    common: Tree
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    folds: int | None
    baseline: str | None
    executor: Tree
    directory: StudyDirectory

    def runs(self) -> list[Planned]:
        """All runs in the order in which they are done: seed by seed, so that arms can be compared early."""
        folds = [None] if self.folds is None else range(1, self.folds + 1)
        return [self._planned(arm, seed, fold) for seed in self.seeds for fold in folds for arm in self.arms]

    def run(self, name: str) -> Planned:
        """One run by its name, such as `kd/seed1`.

        Raises:
            UserError: There is no such run.
        """
        runs = {planned.name: planned for planned in self.runs()}
        if name not in runs:
            raise UserError(f"the study has no run '{name}': {did_you_mean(name, runs)}")
        return runs[name]

    def tree(self) -> Tree:
        """Plain types, as `study.yaml` holds them; `understudy study -c` takes it."""
        return {
            **self.common,
            "seeds": list(self.seeds),
            "seed": self.seeds[0],
            "folds": self.folds,
            "arms": {arm.name: arm.own for arm in self.arms if not arm.plain},
            "baseline": self.baseline or NONE,
            "executor": self.executor,
            "out": str(self.directory.path),
        }

    def _planned(self, arm: Arm, seed: int, fold: int | None) -> Planned:
        directory = self.directory.run(arm.name, seed, fold)
        data = arm.settings.data if fold is None else {**arm.settings.data, "folds": self.folds, "fold": fold}
        settings = arm.settings.model_copy(update={"seed": seed, "data": data, "out": str(directory.path)})
        log, error = self.directory.log(directory), self.directory.error(directory)
        return Planned(arm.name, seed, fold, settings, directory, log, error)

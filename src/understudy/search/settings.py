"""Settings of a search, as they are given and as they are resolved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from understudy.config import Settings, Tree, layered
from understudy.errors import UserError
from understudy.experiments.settings import SHAPE, Command, RunSettings, is_of_teaching, resolve
from understudy.search.space import Space, checked_space, samples
from understudy.studies.parts import START, complete_executor, divided
from understudy.studies.planned import Planned
from understudy.studies.resolve import default_directory, seed_list
from understudy.studies.settings import NONE, PLAIN, Seed
from understudy.study_record import StudyDirectory

LR = "train.optimizer.lr"


class SearchDirectory(StudyDirectory):
    """The files of one search: as those of a study, with `trialNNN` below each arm."""

    kind = "search"

    @property
    def trials(self) -> Path:
        """Optuna's journal of all trials, which its own tools read."""
        return self.path / "optuna.log"

    @property
    def confirm(self) -> Path:
        """The study that tells whether what was found is better."""
        return self.path / "confirm.yaml"

    def best(self, arm: str) -> Path:
        """The best settings of an arm, as `distill` or `train` takes them."""
        return self.path / f"best-{arm}.yaml"


class SearchSettings(Settings):
    """What a search is told besides what its runs have in common.

    Attributes:
        space: Ranges and choices by dotted key (see `understudy.search.space`).
        baseline: `plain` searches for the best training on labels alone with as many trials; `none` does not.
        baseline_space: What that tries; None is what of `space` is not about teaching, or else a learning rate from a
            tenth to ten times the default.
        trials: How many settings of each arm are tried.
        seeds: With which seeds each is, or with how many; their mean counts.
        seed: The first one, where `seeds` is a number, and that of the search itself.
        parallel: How many trials of an arm are done without knowing of each other.
        executor: What does the runs, a name or a name with settings.
        out: The directory of the search.
    """

    space: dict[str, Any] = Field(default_factory=dict[str, Any])
    baseline: Literal["plain", "none"] = PLAIN
    baseline_space: dict[str, Any] | None = None
    trials: int = Field(default=20, ge=1)
    seeds: Annotated[int, Field(ge=1)] | Annotated[list[Seed], Field(min_length=1)] = 1
    seed: Seed = 1
    parallel: int = Field(default=1, ge=1)
    executor: dict[str, Any]
    out: str | None = None


class SearchArm(NamedTuple):
    """What is tuned.

    Attributes:
        name: Its methods, or `plain`.
        command: `train` where it learns from labels alone.
        space: What is tried.
    """

    name: str
    command: Command
    space: Space


class Search(NamedTuple):
    """A search's resolved settings.

    Attributes:
        common: What is said of all runs.
        arms: The methods, and plain training if it is the baseline.
        chosen: The settings of the search itself.
        seeds: The seeds of each trial.
        directory: Where everything goes.
    """

    common: Tree
    arms: tuple[SearchArm, ...]
    chosen: SearchSettings
    seeds: tuple[int, ...]
    directory: SearchDirectory

    def runs(self, arm: SearchArm, number: int, own: Mapping[str, Any]) -> list[Planned]:
        """The runs of a trial.

        Args:
            arm: What is tuned.
            number: That of the trial.
            own: What it tries, by dotted key.
        """
        settings = settings_of_trial(self.common, arm, own)
        return [self._planned(f"{arm.name}/trial{number:03d}", seed, settings) for seed in self.seeds]

    def tree(self) -> Tree:
        """Plain types, as `search.yaml` holds them."""
        return {
            **self.common,
            "space": self.arms[0].space,
            "baseline": self.chosen.baseline,
            "baseline_space": self.arms[1].space if len(self.arms) > 1 else None,
            "trials": self.chosen.trials,
            "seeds": list(self.seeds),
            "seed": self.chosen.seed,
            "parallel": self.chosen.parallel,
            "executor": self.chosen.executor,
            "out": str(self.directory.path),
        }

    def _planned(self, name: str, seed: int, settings: RunSettings) -> Planned:
        directory = self.directory.run(name, seed)
        placed = settings.model_copy(update={"seed": seed, "out": str(directory.path)})
        return Planned(
            name, seed, None, placed, directory, self.directory.log(directory), self.directory.error(directory)
        )


def resolve_search(files: Sequence[Path], overrides: Sequence[tuple[str, Any]]) -> Search:
    """A search, from settings as those of `distill` with a space.

    Args:
        files: YAML files, later ones over earlier ones; that of a single run is one too.
        overrides: Dotted keys and values over them.

    Raises:
        UserError: A key or a value is wrong, also one in a range.
    """
    chosen, of_runs = divided(SearchSettings, files, overrides)
    common = layered(START, of_runs.layers, of_runs.overrides, SHAPE)
    space = checked_space(chosen.space)
    if not space:
        raise UserError("'space' is missing: set for example space={method.temperature: [1, 20, log]}")
    arms = [SearchArm("+".join(str(method["name"]) for method in common["method"]), "distill", space)]
    settings = _checked(common, arms[0])
    if chosen.baseline != NONE:
        arms.append(SearchArm(PLAIN, "train", _plain_space(common, space, chosen)))
        _checked(common, arms[1])
    path = chosen.out or default_directory(settings, "search")
    seeds = seed_list(chosen.seeds, chosen.seed)
    finished = chosen.model_copy(update={"executor": _executor(chosen.executor)})
    return Search(common, tuple(arms), finished, seeds, SearchDirectory(path))


def settings_of_trial(common: Tree, arm: SearchArm, own: Mapping[str, Any]) -> RunSettings:
    """All settings of a trial's runs; seed and directory are those of no run.

    Raises:
        UserError: Something in it is wrong.
    """
    return resolve(arm.command, [common], [*own.items(), ("out", "-")])


def _checked(common: Tree, arm: SearchArm) -> RunSettings:
    """Find out before anything runs whether all ranges and all choices are valid, each by itself."""
    first = settings_of_trial(common, arm, {})
    for key, values in arm.space.items():
        for value in samples(values):
            try:
                settings_of_trial(common, arm, {key: value})
            except UserError as error:
                whole = "" if value in values else f"; for whole numbers give {key}: {[*values, 'int']}"
                raise UserError(f"space of {arm.name}: {error}{whole}") from None
    return first


def _plain_space(common: Tree, space: Space, chosen: SearchSettings) -> Space:
    if chosen.baseline_space:
        return checked_space(chosen.baseline_space)
    shared = {key: values for key, values in space.items() if not is_of_teaching(key)}
    if shared:
        return shared
    rate = resolve("train", [common], [("out", "-")]).train.optimizer["lr"]
    return {LR: [rate / 10, rate * 10, "log"]}


def _executor(chosen: Tree) -> Tree:
    if chosen["name"] == "slurm":
        raise UserError("executor=slurm leaves its runs to others, and a search waits for each: use local or ray")
    return complete_executor(chosen)

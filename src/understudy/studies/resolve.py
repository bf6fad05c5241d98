"""From a study's file and flags to its arms, each checked, with the plain runs that they are compared with."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from understudy.config import Tree, dotted, layered
from understudy.errors import UserError, did_you_mean
from understudy.experiments.assemble import make_method
from understudy.experiments.settings import SHAPE, Command, RunSettings, data_name, is_of_teaching, resolve
from understudy.methods.base import METHODS
from understudy.studies.arms import METHOD, cell_name, directory_name, named_arms
from understudy.studies.parts import START, Pairs, complete_executor, divided
from understudy.studies.settings import NONE, PLAIN, Arm, Study, StudySettings
from understudy.study_record import StudyDirectory

# Each run of an arm has a directory of its own.
NOWHERE = "-"


def resolve_study(files: Sequence[Path], overrides: Sequence[tuple[str, Any]]) -> Study:
    """The runs of a study, from settings as those of `distill` with seeds and arms.

    Args:
        files: YAML files, later ones over earlier ones; that of a single run is one too, whose `seed` is the first.
        overrides: Dotted keys and values, over the common settings. What an arm says goes over both.

    Raises:
        UserError: A key or a value is wrong in any arm, or two arms are called the same or are the same.
    """
    chosen, of_runs = divided(StudySettings, files, overrides)
    said, of_methods = _by_method(of_runs.overrides, chosen)
    common = layered(START, of_runs.layers, said, SHAPE)
    named = named_arms(chosen.arms, chosen.methods, chosen.grid, common=_methods(common))
    taught = [_arm(name, own, common, of_methods) for name, own in named.items()]
    _check_used([key for key, _ in said], [key for key, _ in of_methods], common, taught)
    arms = with_baseline(taught, common, chosen.baseline or NONE)
    _check_different(arms)
    return Study(
        common={key: value for key, value in common.items() if {key: value} != START},
        arms=tuple(arms),
        seeds=seed_list(chosen.seeds, chosen.seed),
        folds=chosen.folds,
        baseline=None if chosen.baseline == NONE else chosen.baseline,
        executor=complete_executor(chosen.executor),
        directory=StudyDirectory(chosen.out or default_directory(taught[0].settings, "study")),
    )


def with_baseline(arms: Sequence[Arm], common: Tree, baseline: str) -> list[Arm]:
    """The arms with what each is compared with.

    `plain` adds training on labels alone for every arm, with all else as the arm says, for as many epochs as the arm
    trains its student in all stages; where arms agree in that, they share it.

    Args:
        arms: Those of the settings.
        common: What is said of all of them.
        baseline: `plain`, `none`, or the name of an arm.

    Raises:
        UserError: There is no such arm, or one has the name of what is added.
    """
    names = [arm.name for arm in arms]
    if baseline == NONE:
        return list(arms)
    if baseline in names and baseline != PLAIN:
        return [arm._replace(against=None if arm.name == baseline else baseline) for arm in arms]
    if baseline != PLAIN:
        raise UserError(f"baseline={baseline} is no arm: {did_you_mean(baseline, [*names, PLAIN, NONE])}")
    added: list[Arm] = []
    compared = [arm._replace(against=_plain(arm, common, added)) for arm in arms]
    if taken := {arm.name for arm in added} & set(names):
        raise UserError(f"an arm is called '{min(taken)}' as the baseline is: rename it, or set baseline=none")
    return [*added, *compared]


def _plain(arm: Arm, common: Tree, added: list[Arm]) -> str:
    """The name of the baseline of an arm, which is added if there is none like it."""
    # An arm that learns from labels alone differs in something else, which its baseline must not have.
    own = arm.own if arm.command == "distill" else {}
    if (epochs := _epochs(arm.settings)) > arm.settings.train.epochs:
        own = {**own, "train.epochs": epochs}
    settings = _resolved("train", layered(common, [], own.items(), SHAPE), arm.name)
    same = [each.name for each in added if each.settings.tree() == settings.tree()]
    if same:
        return same[0]
    # A name that stays, whatever arms are added later: its runs are found again.
    changed = {key: value for key, value in sorted(dotted(own).items()) if not is_of_teaching(key)}
    name = PLAIN if settings == _plain_of_all(common) else f"{PLAIN}-{cell_name(changed)}"
    added.append(Arm(name, "train", {}, settings, plain=True))
    return name


def _epochs(settings: RunSettings) -> int:
    """How many epochs the student trains: the stages of a method before the last come on top of `train.epochs`."""
    methods = [make_method(chosen, compile_it=settings.train.compile) for chosen in settings.method]
    before = [stage for method in methods for stage in method.stages()[:-1] if stage.student]
    common = settings.train.epochs
    return common + sum(common if stage.epochs is None else stage.epochs for stage in before)


def _plain_of_all(common: Tree) -> RunSettings | None:
    """Plain training as the common settings say; None where they do not say enough."""
    try:
        return resolve("train", [common], [("out", NOWHERE)])
    except UserError:
        return None


def _arm(name: str, own: Tree, common: Tree, of_methods: Pairs) -> Arm:
    methods = _methods(layered(common, [], own.items(), SHAPE))
    own = {**own, **{key: value for key, value in of_methods if key.split(".")[1] in methods}}
    command: Command = "distill" if methods else "train"
    return Arm(name, command, own, _resolved(command, layered(common, [], own.items(), SHAPE), name))


def _resolved(command: Command, tree: Tree, name: str) -> RunSettings:
    try:
        return resolve(command, [tree], [("out", NOWHERE)])
    except UserError as error:
        raise UserError(f"arm '{name}': {error}") from None


def _by_method(said: Pairs, chosen: StudySettings) -> tuple[Pairs, Pairs]:
    """What is said of all runs, and where methods make the arms, what is said of one of them by its name."""
    if not chosen.methods:
        return said, []
    of_methods = [pair for pair in said if _head(pair) == METHOD]
    for key, value in of_methods:
        if key.count(".") < 2 or key.split(".")[1] not in METHODS:
            raise UserError(f"{key}={value} says not of which of the methods: name it, as in method.kd.temperature=2")
    return [pair for pair in said if _head(pair) != METHOD], of_methods


def _check_used(said: Sequence[str], of_methods: Sequence[str], common: Tree, arms: Sequence[Arm]) -> None:
    """What is said of a method must be said of one that an arm has."""
    used = {str(method["name"]) for arm in arms for method in arm.settings.method}
    wanted = {key.split(".")[1]: key for key in of_methods}
    if any(key.partition(".")[0] == METHOD for key in said):
        wanted |= dict.fromkeys(_methods(common), METHOD)
    for name, key in wanted.items():
        if name not in used:
            raise UserError(f"no arm learns by {name}, of which {key} is said: leave it out, or add an arm")


def _check_different(arms: Sequence[Arm]) -> None:
    for first, second in combinations(arms, 2):
        if first.settings.tree() == second.settings.tree():
            raise UserError(f"the arms '{first.name}' and '{second.name}' are the same: leave one out")


def seed_list(seeds: int | Sequence[int], first: int) -> tuple[int, ...]:
    """The seeds that are meant.

    Args:
        seeds: They themselves, or how many.
        first: The first one, where they are counted.

    Raises:
        UserError: One stands twice.
    """
    if isinstance(seeds, int):
        return tuple(range(first, first + seeds))
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds={list(seeds)} has a seed twice, which would be the same run: leave it out")
    return tuple(seeds)


def _methods(tree: Tree) -> list[str]:
    return [str(method["name"]) for method in tree.get(METHOD) or []]


def default_directory(settings: RunSettings, kind: str) -> str:
    """`runs/<data>-<student>-<kind>`: the same command finds its own study again."""
    return f"runs/{directory_name(data_name(settings))}-{directory_name(str(settings.student['name']))}-{kind}"


def _head(pair: tuple[str, Any]) -> str:
    return pair[0].partition(".")[0]

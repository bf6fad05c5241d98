"""Students that become teachers: assistants between teacher and student, and generations of one network.

Mirzadeh et al., Improved Knowledge Distillation via Teacher Assistant, AAAI 2020 (TAKD); Furlanello et al., Born-Again
Neural Networks, ICML 2018.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from understudy.classifier import Classifier
from understudy.config import Settings, validated
from understudy.engine.distributed import World
from understudy.engine.loggers import check_loggers
from understudy.errors import UserError
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly
from understudy.experiments.run import Result, run
from understudy.experiments.settings import OBJECT, Command, RunSettings, resolve
from understudy.experiments.training import Training
from understudy.record import RunDirectory
from understudy.yaml_file import read_yaml

Say = Callable[[str], None]
Pairs = list[tuple[str, Any]]

# What says something about the help of a teacher, which the first link may not have.
HELP = ("teacher", "method", "label")


class ChainSettings(Settings):
    """What a chain needs to know besides what its runs do.

    Attributes:
        chain: The students in order; each teaches the next one.
        generations: How many students follow each other, all as `student` says, each from other first weights.
        out: Where the runs go, each into a directory of its own.
    """

    chain: list[str] | None = Field(default=None, min_length=1)
    generations: int | None = Field(default=None, ge=1)
    out: str


class Link(NamedTuple):
    """One run of a chain.

    Attributes:
        command: `train` for a first link without a teacher.
        settings: Its resolved settings.
    """

    command: Command
    settings: RunSettings


def resolve_chain(files: Sequence[Path], overrides: Sequence[tuple[str, Any]]) -> list[Link]:
    """The runs of a chain, from the settings of `distill` with `chain=[...]` or `generations=N` and `out=DIR`.

    With a `teacher` the first student learns from it, and settings of the teacher are for that first link only.
    Otherwise it learns from labels alone, and they are for the students that teach. Each generation has the next
    `seed`.

    Args:
        files: YAML files, later ones over earlier ones.
        overrides: Dotted keys and values.

    Raises:
        UserError: Neither a chain nor generations are given, or both; or a run's settings are wrong.
    """
    pairs = [pair for path in files for pair in read_yaml(path).items()] + list(overrides)
    own = {key: value for key, value in pairs if key in ChainSettings.model_fields}
    rest = [pair for pair in pairs if pair[0] not in ChainSettings.model_fields]
    chosen = validated(ChainSettings, own)
    students = _students(chosen, rest)
    has_teacher = any(_names_teacher(key, value) for key, value in rest)
    links: list[Link] = []
    for number, name in enumerate(students):
        link = [*rest, ("out", str(_place(chosen, number, name)))]
        if chosen.chain is not None:
            link.append(("student", name))
        else:
            link.append(("seed", _first_seed(rest) + number))
        if links:
            kept = [pair for pair in link if not has_teacher or _section(pair) != "teacher"]
            link = [*kept, ("teacher", links[-1].settings.out)]
        elif not has_teacher:
            link = [pair for pair in link if _section(pair) not in HELP]
        command: Command = "distill" if links or has_teacher else "train"
        links.append(Link(command, resolve(command, [], link)))
    return links


def run_chain(links: Sequence[Link], *, world: World | None = None, say: Say = print) -> list[Result]:
    """Train the students one after the other; finished runs are only read.

    All are tried out before the first is trained (see `rehearse`), so that a mistake in the last one is found at once.

    Args:
        links: See `resolve_chain`.
        world: The processes that work together; alone by default.
        say: Takes each line that the user should read.

    Returns:
        The result of each run.

    Raises:
        UserError: As `run`.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    for _ in rehearse(links, world=world, say=lambda line: None):
        pass
    results: list[Result] = []
    for number, link in enumerate(links):
        say(_title(links, number))
        results.append(run(link.settings, world=world, say=say))
    return results


def rehearse(links: Sequence[Link], *, world: World | None = None, say: Say = print) -> Iterator[Assembly]:
    """Assemble the runs that are not finished and check all that can be checked before a teacher is trained.

    In the place of a teacher that does not exist yet stands the same network untrained. Nothing is written.

    Args:
        links: See `resolve_chain`.
        world: The processes that work together; alone by default.
        say: Takes each line that the user should read.

    Yields:
        What each of these runs works with.

    Raises:
        UserError: As `run`.
    """
    previous: Classifier | None = None
    for number, link in enumerate(links):
        say(_title(links, number))
        directory = RunDirectory(str(link.settings.out))
        directory.check(link.settings.tree())
        if directory.finished():
            say("it is finished")
            previous = None
            continue
        check_loggers(link.settings.loggers)
        made = assemble(_untrained(link.settings, previous, number), world=world, given=Given(teacher=previous))
        for note in made.notes:
            say(note)
        # An untrained teacher says nothing about how much each term will count.
        Training(made, directory, say if previous is None else lambda line: None).prepare()
        yield made
        student = made.distiller.deploy()
        assert isinstance(student, Classifier)
        previous = student


def _untrained(settings: RunSettings, teacher: Classifier | None, number: int) -> RunSettings:
    """The settings for a rehearsal with a teacher that is given."""
    if teacher is None:
        return settings
    # Another seed for each: a student with its teacher's weights would have no gradient.
    chosen = {**(settings.teacher or {}), "name": f"{OBJECT}{teacher.name}"}
    return settings.model_copy(update={"teacher": chosen, "seed": settings.seed + number})


def _title(links: Sequence[Link], number: int) -> str:
    settings = links[number].settings
    return f"link {number + 1} of {len(links)}: {settings.student['name']} in {settings.out}"


def _students(chosen: ChainSettings, rest: Pairs) -> list[str]:
    if (chosen.chain is None) == (chosen.generations is None):
        raise UserError("set either chain=[first,second,...] or generations=3 with student=...")
    if chosen.chain is not None:
        if any(key in ("student", "model") for key, _ in rest):
            raise UserError("chain=[...] names the students: leave out student=")
        return chosen.chain
    assert chosen.generations is not None
    named = [value for key, value in rest if key in ("student", "model", "student.name", "model.name")]
    if not named:
        raise UserError("'student' is missing: set for example student=cnn-xs")
    name = named[-1]["name"] if isinstance(named[-1], dict) else named[-1]
    return [str(name)] * chosen.generations


def _place(chosen: ChainSettings, number: int, name: str) -> Path:
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    return Path(chosen.out) / f"{number + 1}-{safe}"


def _names_teacher(key: str, value: object) -> bool:
    if key == "teacher" and isinstance(value, dict):
        return bool(value.get("name"))
    return key in ("teacher", "teacher.name") and bool(value)


def _section(pair: tuple[str, Any]) -> str:
    return pair[0].partition(".")[0]


def _first_seed(rest: Pairs) -> int:
    seeds = [value for key, value in rest if key == "seed"]
    if seeds and not isinstance(seeds[-1], int):
        raise UserError(f"seed={seeds[-1]!r} is not valid: give a whole number")
    return int(seeds[-1]) if seeds else 0

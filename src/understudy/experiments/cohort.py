"""A run of students that teach each other: from settings to a run directory with one directory for each student."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from understudy.classifier import Classifier
from understudy.cohort import Cohort
from understudy.data import Loader
from understudy.engine.checkpoint import State, load_checkpoint, save_checkpoint
from understudy.engine.cohort_trainer import CohortTrainer, scores_of
from understudy.engine.device import seed_everything
from understudy.engine.distributed import World, wait
from understudy.engine.interrupt import Interrupted
from understudy.engine.loggers import check_loggers
from understudy.errors import UserError
from understudy.evaluation.accuracy import scores
from understudy.experiments.assemble import Given, assemble
from understudy.experiments.assembly import Assembly, as_user_error
from understudy.experiments.cohort_settings import CohortSettings
from understudy.experiments.optimization import make_optimization
from understudy.experiments.provenance import check_same_origin, provenance
from understudy.experiments.run import Result, finish
from understudy.experiments.training import make_loggers, say_shares
from understudy.methods.base import METHODS
from understudy.methods.logits import LogitMethod
from understudy.models import save_model
from understudy.reach import gradient_norms, gradient_shares, training_only_reached
from understudy.record import RunDirectory, write_json
from understudy.taps import evaluating
from understudy.types import Outputs

Say = Callable[[str], None]


class Prepared(NamedTuple):
    """A cohort that could begin.

    Attributes:
        settings: What it was made from.
        made: What each student works with; all share the data.
        cohort: The unit that is trained, on its device.
        shares: Each term's share of the gradient norm, by student and term.
        loader: The training batches.
    """

    settings: CohortSettings
    made: list[Assembly]
    cohort: Cohort
    shares: list[dict[str, float]]
    loader: Loader


@dataclass(frozen=True)
class _Keeper:
    """Puts checkpoints into the run directory; the best students go where `CohortTrainer` is told."""

    directory: RunDirectory

    def save(self, state: State) -> None:
        save_checkpoint(self.directory.last, state)

    def save_best(self, student: nn.Module) -> None:
        raise AssertionError("each student of a cohort has its own best epoch")


def run_cohort(settings: CohortSettings, *, world: World | None = None, say: Say = print) -> Result:
    """Train a cohort, or go on where an earlier attempt stopped; a finished run is only read.

    Each student's epoch, and the best student, are selected on the validation split; the test split is read once for
    each student, after that.

    Args:
        settings: See `resolve_cohort`.
        world: The processes that work together; alone by default.
        say: Takes each line that the user should read.

    Returns:
        What `result.json` holds: `students`, each as the result of a run; `best`; `mean` of their accuracies.

    Raises:
        UserError: As `understudy.experiments.run.run`.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    world = world or World()
    directory = RunDirectory(settings.out)
    directory.check(settings.tree())
    if directory.finished():
        say(f"{directory.path} is finished: nothing to do (choose another out=DIR to run it again)")
        return directory.read_result()
    ready = prepare_cohort(settings, world=world, say=say)
    wait()
    with directory.locked() if world.first else nullcontext():
        return _train(ready, directory, say)


def prepare_cohort(settings: CohortSettings, *, world: World | None = None, say: Say = print) -> Prepared:
    """Do all that a run does before it writes anything, which finds every mistake that can be found by then.

    Args:
        settings: See `resolve_cohort`.
        world: The processes that work together; alone by default.
        say: Takes each line that the user should read.

    Raises:
        UserError: As `run_cohort`.
    """
    RunDirectory(settings.out).check(settings.tree())
    check_loggers(settings.members[0].loggers)
    made = _assembled(settings, world or World())
    for note in dict.fromkeys(note for each in made for note in each.notes):
        say(note)
    with as_user_error("mutual"):
        distillers = [each.distiller for each in made]
        cohort = Cohort(distillers, peers=settings.mutual.peers, weights=settings.mutual.weights).to(made[0].device)
    shares = _shares(made, cohort, say)
    loader = made[0].train_loader()
    _optimizers(made, num_steps=len(loader))
    return Prepared(settings, made, cohort, shares, loader)


def _assembled(settings: CohortSettings, world: World) -> list[Assembly]:
    """One assembly for each student, from other first weights, over the same data in the same order."""
    made: list[Assembly] = []
    for number, member in enumerate(settings.members):
        given = Given(data=made[0].data if made else None, teacher=_peer(settings, number, world))
        each = assemble(member.model_copy(update={"seed": member.seed + number}), world=world, given=given)
        # Images are decoded once for all of them; who teaches is in the cohort.
        loaders = made[0].loaders if made else each.loaders
        made.append(replace(each, settings=member, loaders=loaders, teacher=None))
    sizes = sorted({each.size for each in made})
    if len(sizes) > 1:
        named = " and ".join(map(str, sizes))
        raise UserError(f"the students want images of {named} pixels: set data.size={sizes[-1]}")
    first = settings.members[0]
    seed_everything(first.seed + 1_000_003 * world.rank, deterministic=first.train.deterministic)
    return made


def _peer(settings: CohortSettings, number: int, world: World) -> nn.Module | None:
    """The one peer of a student, untrained, for methods that fit adapters to its layers."""
    methods = settings.members[number].method
    if len(settings.members) != 2 or all(issubclass(METHODS.get(chosen["name"]), LogitMethod) for chosen in methods):
        return None
    peer = settings.members[1 - number]
    return assemble(peer.model_copy(update={"method": [], "seed": peer.seed + 1 - number}), world=world).student


def _targets(made: Assembly, cohort: Cohort) -> list[Outputs]:
    """What teaches each member, for some images."""
    with evaluating(cohort), torch.no_grad():
        said = [member.student(made.sample().image) for member in cohort.each()]
    return [cohort.targets(number, said)[0] for number in range(len(said))]


def _shares(made: Sequence[Assembly], cohort: Cohort, say: Say) -> list[dict[str, float]]:
    """Each term's share of the gradient norm, after each term was seen to reach its student."""
    found: list[dict[str, float]] = []
    for number, (member, targets) in enumerate(zip(cohort.each(), _targets(made[0], cohort), strict=True)):
        with as_user_error("method"):
            norms = gradient_norms(member, made[0].sample(), targets)
        weight = cohort.weights[number]
        shares = gradient_shares({term: norm if term == "ce" else norm * weight for term, norm in norms.items()})
        if not any(shares.values()):
            raise UserError(f"every loss term of student {number} has weight 0: set label.weight=1")
        say_shares(shares, say, whose=f" of student {number}")
        found.append(shares)
    return found


def _optimizers(made: Sequence[Assembly], *, num_steps: int) -> dict[str, list[Any]]:
    found = [make_optimization(each, num_steps) for each in made]
    return {"optimizers": [each.optimizer for each in found], "schedules": [each.schedule for each in found]}


def _train(ready: Prepared, directory: RunDirectory, say: Say) -> Result:
    """The part of a run that writes; the directory is locked."""
    settings, made = ready.settings, ready.made
    directories = [RunDirectory(str(member.out)) for member in settings.members]
    first = made[0].world.first
    if first:
        directory.claim(settings.tree())
        for each, member in zip(directories, settings.members, strict=True):
            each.claim(member.tree())
    wait()
    if directory.finished():
        # By another process, since this one looked.
        return directory.read_result()
    resume = load_checkpoint(directory.last) if directory.last.exists() else None
    origin = provenance(made[0])
    if resume is not None:
        check_same_origin(directory.read_provenance(), origin)
    elif first:
        write_json(directory.provenance, {**origin, "gradient_shares": ready.shares})
    best = _fit(ready, directory, directories, resume, say)
    results = [
        finish(each, place, scores_of(number, best), None, say)
        for number, (each, place) in enumerate(zip(made, directories, strict=True))
    ]
    result = _summary(settings, results)
    if first:
        write_json(directory.result, result)
    wait()
    return result


def _fit(
    ready: Prepared, directory: RunDirectory, directories: Sequence[RunDirectory], resume: State | None, say: Say
) -> dict[str, float]:
    made, cohort, loader, first = ready.made, ready.cohort, ready.loader, ready.made[0]
    with ExitStack() as stack:
        idle: list[nn.Module] = []
        for member, targets in zip(list(cohort.each()), _targets(first, cohort), strict=True):
            idle += stack.enter_context(training_only_reached(member, first.sample(), targets))
        trainer = CohortTrainer(
            cohort,
            **_optimizers(made, num_steps=len(loader)),
            updates=ready.settings.mutual.updates,
            save_best=[_saver(place) for place in directories],
            loader=loader,
            settings=first.settings.train,
            validate=lambda students: _validate(made, students),
            keeper=_Keeper(directory),
            loggers=lambda step: make_loggers(first.settings.loggers, directory, step),
            device=first.device,
            world=first.world,
            title=directory.path.name,
            idle=idle,
        )
        total = trainer.settings.epochs * len(loader)
        if resume is not None:
            say(f"going on at step {resume['step']} of {total}")
        try:
            return trainer.fit(resume)
        except Interrupted:
            place = f"stopped at step {trainer.step} of {total}"
            say(f"{place}; everything is in {directory.path}: the same command goes on from there")
            raise


def _saver(directory: RunDirectory) -> Callable[[nn.Module], None]:
    return lambda student: save_model(cast("Classifier", student), directory.best)


def _validate(made: Sequence[Assembly], students: nn.Module) -> dict[str, float]:
    """The scores of each student by number, and the mean accuracy."""
    assert isinstance(students, nn.ModuleList)
    found = [scores(each.predictions(student, "val")) for each, student in zip(made, students, strict=True)]
    named = {f"{number}.{name}": value for number, own in enumerate(found) for name, value in own.items()}
    return {**named, "accuracy": statistics.fmean(own["accuracy"] for own in found)}


def _summary(settings: CohortSettings, results: list[Result]) -> Result:
    """The students' results, their mean, and the one that did best on the validation split."""
    best = max(range(len(results)), key=lambda n: (results[n]["val"]["accuracy"], -results[n]["val"]["nll"]))
    return {
        "students": results,
        "directories": [str(member.out) for member in settings.members],
        "mutual": settings.mutual.model_dump(mode="json"),
        "best": {"student": best, "by": "accuracy on the validation split"},
        "mean": {split: statistics.fmean(each[split]["accuracy"] for each in results) for split in ("val", "test")},
    }

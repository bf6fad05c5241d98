from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from child_processes import run_pair
from small_training import CPU, Batches, Kept, make_trainer, network
from test_trainer import check_stops, read, same
from torch import nn

from understudy.cohort import Cohort
from understudy.distiller import Distiller
from understudy.engine import TrainSettings
from understudy.engine.cohort_trainer import CohortTrainer
from understudy.engine.distributed import World, join, leave
from understudy.engine.loggers import JsonLines
from understudy.engine.optim import OPTIMIZERS
from understudy.engine.schedule import SCHEDULES, Span
from understudy.errors import UserError
from understudy.evaluation.predictions import collect_predictions
from understudy.methods.dml import DML

RATES = (1e-2, 3e-3, 1e-2)


def make(
    *,
    students: list[nn.Module] | None = None,
    weight: float = 1.0,
    updates: str = "simultaneous",
    optimizer: str = "adamw",
    schedules: tuple[str, ...] = ("onecycle", "constant", "cosine"),
    loader: Batches | None = None,
    keeper: Kept | None = None,
    metrics: Path | None = None,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    world: World | None = None,
    save_best: list[Callable[[nn.Module], None]] | None = None,
    **settings: Any,
) -> CohortTrainer:
    loader = loader or Batches()
    students = students or [network(seed) for seed in range(3)]
    cohort = Cohort([Distiller(student, [DML(weight=weight)]) for student in students])
    chosen = TrainSettings(**{"epochs": 2, "batch_size": 8, "log_steps": 2, "precision": "fp32", **settings})
    optimizers = [
        OPTIMIZERS.get(optimizer)(member.parameters(), lr=rate)
        for member, rate in zip(cohort.each(), RATES, strict=False)
    ]
    span = Span(chosen.epochs, len(loader))
    torch.manual_seed(1)
    return CohortTrainer(
        cohort,
        optimizers=optimizers,
        schedules=[SCHEDULES.get(name)(made, span) for name, made in zip(schedules, optimizers, strict=False)],
        updates=updates,
        save_best=save_best or [lambda student: None] * len(students),
        loader=loader,
        settings=chosen,
        validate=validate or (lambda students: scores(loader, students)),
        keeper=keeper or Kept(),
        loggers=lambda step: [] if metrics is None else [JsonLines(metrics, step=step)],
        device=CPU,
        world=world or World(),
        title="small",
    )


def scores(loader: Batches, students: nn.Module) -> dict[str, float]:
    found = [loader.scores(student) for student in students]
    return {f"{n}.{name}": value for n, own in enumerate(found) for name, value in own.items()}


CHOICES = [
    {"ema": 0.8, "clip": 0.5, "accumulate": 2},
    {"updates": "alternating", "ema": 0.8, "accumulate": 2},
    {"updates": "alternating", "precision": "bf16", "clip": 0.5},
]


@pytest.mark.parametrize("chosen", CHOICES, ids=["together", "in-turn", "bf16"])
def test_a_cohort_stopped_at_any_step_ends_as_one_that_was_not(tmp_path: Path, chosen: dict[str, Any]) -> None:
    check_stops(make, tmp_path, (1, 4, 5, 9), **chosen)


@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_without_weight_each_student_is_trained_as_alone_bit_for_bit(updates: str, clip: float | None) -> None:
    chosen = {"schedule": "onecycle", "clip": clip, "distilled": False}
    trainer = make(
        students=[network(seed, dropout=0) for seed in range(3)],
        weight=0.0,
        updates=updates,
        schedules=("onecycle",) * 3,
        clip=clip,
    )
    trainer.fit()
    for seed, member in enumerate(trainer.cohort.each()):
        alone = make_trainer(student=network(seed, dropout=0), optimizer={"lr": RATES[seed]}, **chosen)
        alone.fit()
        assert same(dict(member.deploy().state_dict()), dict(alone.distiller.deploy().state_dict())), seed


def test_alternating_updates_are_algorithm_1() -> None:
    trainer = make(updates="alternating", epochs=1, optimizer="sgd", students=[network(s, dropout=0) for s in range(3)])
    trainer.fit()
    students = [network(seed, dropout=0) for seed in range(3)]
    optimizers = [OPTIMIZERS.get("sgd")(each.parameters(), lr=rate) for each, rate in zip(students, RATES, strict=True)]
    span = Span(1, 5)
    schedules = [
        SCHEDULES.get(name)(made, span)
        for name, made in zip(("onecycle", "constant", "cosine"), optimizers, strict=True)
    ]
    for batch in Batches().batches(0):
        for number, student in enumerate(students):
            with torch.no_grad():
                # Only the running statistics would differ, which training does not read.
                peers = [other(batch.image) for other in students if other is not student]
            method = DML()
            logits = student(batch.image)
            loss = torch.nn.functional.cross_entropy(logits, batch.label)
            loss = loss + sum(method.compare(logits, peer, batch)["dml"] for peer in peers) / 2
            loss.backward()
            optimizers[number].step()
            optimizers[number].zero_grad()
        for schedule in schedules:
            schedule.step()
    for member, expected in zip(trainer.cohort.each(), students, strict=True):
        own = member.deploy()
        for name, parameter in expected.named_parameters():
            torch.testing.assert_close(own.get_parameter(name), parameter, rtol=0, atol=1e-6)
        assert own[1].num_batches_tracked == 5


def test_terms_accuracies_and_rates_are_logged_for_each_student(tmp_path: Path) -> None:
    for updates in ("simultaneous", "alternating"):
        metrics = tmp_path / f"{updates}.jsonl"
        make(metrics=metrics, updates=updates, log_steps=1).fit()
        for line in read(metrics):
            weighted = [value for name, value in line.items() if name.endswith(".weighted")]
            assert len(weighted) == 6
            assert sum(weighted) == pytest.approx(line["train.loss"], abs=1e-5)
            assert {f"train.{number}.accuracy" for number in range(3)} <= line.keys()
            assert line["kind"] == "epoch" or len({line[f"{number}.lr"] for number in range(3)}) > 1


def test_each_student_keeps_its_own_best_epoch() -> None:
    found = iter([(0.5, 0.9), (0.7, 0.8), (0.7, 0.7)])
    kept: list[tuple[int, nn.Module]] = []

    def validate(students: nn.Module) -> dict[str, float]:
        accuracies = next(found)
        pairs = {f"{n}.accuracy": value for n, value in enumerate(accuracies)}
        return pairs | {f"{n}.nll": 1.0 for n in range(2)}

    students: list[nn.Module] = [network(seed) for seed in range(2)]
    saves = [lambda student, n=n: kept.append((n, student)) for n in range(2)]
    best = make(students=students, validate=validate, save_best=saves, epochs=3).fit()
    assert (best["0.epoch"], best["0.accuracy"], best["1.epoch"], best["1.accuracy"]) == (1, 0.7, 0, 0.9)
    assert [(n, student is students[n]) for n, student in kept] == [(0, True), (1, True), (0, True)]


@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
def test_students_are_in_training_mode_after_a_validation(updates: str) -> None:
    students: list[nn.Module] = [network(seed) for seed in range(2)]
    flags: list[bool] = []

    def look() -> None:
        flags.append(all(module.training for student in students for module in student.modules()))

    loader = Batches(before=lambda done: look())

    def validate(found: nn.Module) -> dict[str, float]:
        for student in found:
            collect_predictions(student, Batches().batches(0))
        look()
        return scores(Batches(), found)

    make(students=students, loader=loader, validate=validate, updates=updates).fit()
    assert flags == [True] * 12


def test_a_loss_that_overflows_in_one_student_skips_only_its_step() -> None:
    trainer = make(students=[network(seed) for seed in range(2)], precision="fp16", epochs=1)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = [{name: p.clone() for name, p in member.named_parameters()} for member in trainer.cohort.each()]
    batch = next(iter(Batches().batches(0)))
    for _ in trainer._backward(batch):
        pass
    first, second = trainer.cohort.each()
    next(first.parameters()).grad.fill_(float("inf"))
    trainer._update()
    assert same(dict(first.named_parameters()), before[0])
    assert not same(dict(second.named_parameters()), before[1])


def train_part(out: Path) -> None:
    world = join()
    students: list[nn.Module] = [network(seed, dropout=0) for seed in range(2)]
    make(students=students, loader=Batches(world=world), world=world, optimizer="sgd").fit()
    torch.save([student.state_dict() for student in students], out / f"{world.rank}.pt")
    leave()


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    run_pair(train_part, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    students: list[nn.Module] = [network(seed, dropout=0) for seed in range(2)]
    make(students=students, optimizer="sgd").fit()
    torch.testing.assert_close(first, [student.state_dict() for student in students], rtol=0, atol=1e-4)


def test_alternating_updates_of_several_processes_are_refused() -> None:
    with pytest.raises(UserError, match=r"one process: set mutual\.updates=simultaneous"):
        make(updates="alternating", world=World(0, 2))

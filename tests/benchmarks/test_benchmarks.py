"""The benchmarks run, at a tiny size; nothing is said about speed."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import torch
from benchmarks import textbook, timing, trainer
from benchmarks.data import load, networks
from benchmarks.peers import install, run, side, with_textbook, with_understudy
from torch.nn.functional import kl_div, log_softmax

TINY = ["--images", "random", "--teacher", "random", "--batch", "8"]


def test_textbook_writes_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    textbook.main([*TINY, "--rounds", "2", "--out", str(tmp_path / "found.json")])
    assert "| textbook plain |" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["steps"]) == {"textbook KD", "textbook plain"}


def test_textbook_trains_the_student_and_leaves_the_teacher_alone() -> None:
    data = load("random", 16)
    teacher, student = networks("random", data.classes)
    kept, start = ([tensor.clone() for tensor in model.state_dict().values()] for model in (teacher, student))
    loop = textbook.Textbook(data, student, teacher, batch=8)
    losses = [loop.step() for _ in range(3)]
    assert all(loss.isfinite() and not loss.requires_grad for loss in losses)
    assert all(torch.equal(a, b) for a, b in zip(kept, teacher.state_dict().values(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(start, student.state_dict().values(), strict=True))


def test_textbook_loss_is_the_weighted_sum() -> None:
    logits, targets, label = torch.randn(4, 10), torch.randn(4, 10), torch.tensor([1, 2, 3, 4])
    labels = -log_softmax(logits, 1)[range(4), label].mean()
    soft = kl_div(log_softmax(logits / 4, 1), log_softmax(targets / 4, 1), reduction="sum", log_target=True) / 4
    assert torch.allclose(textbook.kd(logits, targets, label), 0.1 * labels + 0.9 * 16 * soft)


def test_marginal_cost_leaves_out_what_every_run_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(timing, "cpu_seconds", lambda: now)

    def spend(steps: int) -> None:
        nonlocal now
        now += 10 + 3 * steps

    assert timing.marginal(lambda steps: lambda: spend(steps), 2, 6).cpu == 3


def test_check_finds_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    given = side.options(["textbook", *TINY, "--check"])
    same, again = (side.check(with_textbook.train, given)["moved"] for _ in range(2))
    monkeypatch.setattr(textbook, "LR", 0.1)
    other = side.check(with_textbook.train, given)["moved"]
    answers = {"textbook": {"moved": same}, "same": {"moved": again}, "other": {"moved": other}}
    monkeypatch.setattr(run, "ask", lambda name, command: answers[name])
    far = run.compare({name: [] for name in answers})
    assert far["same"] < 1e-3
    assert far["other"] > run.TOLERANCE


def test_peers_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "ENVIRONMENTS", tmp_path)
    speed = {"textbook": 100.0, "fast": 400.0}

    def answer(name: str, command: list[str]) -> run.Found | None:
        figures = {figure: speed[name] for figure in run.FIGURES} if name in speed else None
        return figures and {"version": f"{name} 1", "torch": "2", **figures}

    monkeypatch.setattr(run, "ask", answer)
    run.main([*TINY, "--understudy", "fast", "a=1", "--understudy", "broken", "--out", str(tmp_path / "found.json")])
    printed = capsys.readouterr().out
    for name in install.peers():
        assert f"{name}: not installed" in printed
    sides = json.loads((tmp_path / "found.json").read_text())["sides"]
    assert set(sides) == {"textbook", "fast"}
    assert sides["fast"]["times_textbook"]["median"] == 4


def test_understudy_settings_reach_its_side() -> None:
    given = run.parsed([*TINY, "--only", "--understudy", "mine", "train.precision=bf16"])
    command = run.commands(given)["mine"]
    assert side.options(command[3:]).settings == ["train.precision=bf16"]


@pytest.mark.slow
def test_installed_peers_and_understudy_do_the_work_of_the_textbook_loop() -> None:
    installed = [name for name in install.peers() if install.python_of(name).exists()]
    # Enough images of all classes for KD_Lib, which takes a student without a right answer back to where it began.
    run.main([*TINY, "--batch", "20", "--check", "--only", *installed])


@pytest.mark.parametrize("name", ["textbook", "understudy"])
def test_side_measures(name: str) -> None:
    given = side.options([name, *TINY, "--few", "1", "--many", "4"])
    found = side.measure({"textbook": with_textbook, "understudy": with_understudy}[name].train, given)
    assert set(found) == set(run.FIGURES)


def test_trainer_is_compared_with_a_bare_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(arguments: list[str]) -> dict[str, float]:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            trainer.main(arguments)
        return json.loads(printed.getvalue())

    # Starting the two processes takes far longer than what they do.
    monkeypatch.setattr(trainer, "ask", here)
    trainer.main([*TINY, "--steps", "4", "--rounds", "1", "--out", str(tmp_path / "found.json")])
    assert set(json.loads((tmp_path / "found.json").read_text())) == {"understudy", "bare"}

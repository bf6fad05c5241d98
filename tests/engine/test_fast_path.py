"""What makes training fast changes nothing but roundings, and can be switched off."""

import shutil
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from small_training import Batches, Kept, make_trainer
from torch import nn

from understudy.errors import UserError
from understudy.experiments.assemble import assemble
from understudy.experiments.caching import fast_teacher
from understudy.experiments.settings import resolve
from understudy.record import read_lines


def convolutional() -> nn.Sequential:
    """Two convolutions, so that the layout between them shows."""
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            first=nn.Conv2d(1, 4, 3),
            norm=nn.BatchNorm2d(4),
            relu=nn.ReLU(),
            second=nn.Conv2d(4, 6, 3),
            pool=nn.AdaptiveAvgPool2d(2),
            flatten=nn.Flatten(),
            head=nn.Linear(24, 3),
        )
    )


def curve(path: Path, **settings: object) -> list[float]:
    make_trainer(student=convolutional(), metrics=path, log_steps=1, **settings).fit()  # type: ignore[arg-type]
    return [line["train.loss"] for line in read_lines(path) if line["kind"] == "step"]


def test_channels_last_changes_roundings_only(tmp_path: Path) -> None:
    fast, slow = (curve(tmp_path / str(chosen), channels_last=chosen) for chosen in (True, False))
    assert fast == pytest.approx(slow, rel=1e-4)


def test_weights_lie_as_the_settings_say() -> None:
    for chosen in (True, False):
        trainer = make_trainer(student=convolutional(), channels_last=chosen)
        trainer.fit()
        weight = trainer.distiller.student.model.get_submodule("second").weight
        assert isinstance(weight, torch.Tensor)
        assert weight.is_contiguous(memory_format=torch.channels_last) == chosen


def test_a_checkpoint_fits_either_layout() -> None:
    keeper = Kept()
    make_trainer(student=convolutional(), keeper=keeper, channels_last=True).fit()
    other = make_trainer(student=convolutional(), channels_last=False)
    other.load_state_dict(keeper.last())
    assert other.step == 2 * len(Batches())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_equals_eager(tmp_path: Path) -> None:
    compiled, eager = (curve(tmp_path / str(chosen), compile=chosen) for chosen in (True, False))
    assert compiled == pytest.approx(eager, rel=1e-4)


def test_what_cannot_compile_is_refused(teacher_run: Path) -> None:
    chosen = {"data": "digits", "teacher": str(teacher_run), "student": "cnn-xs", "method": "at-gradient"}
    settings = resolve("distill", [], [*chosen.items(), ("train.compile", True), ("device", "cpu")])
    with pytest.raises(UserError, match="not possible with at-gradient"):
        assemble(settings)


def test_the_teacher_of_a_run_is_quickened_unless_told_otherwise(teacher_run: Path) -> None:
    for chosen in (True, False):
        pairs = [("data", "digits"), ("teacher", str(teacher_run)), ("student", "cnn-xs"), ("device", "cpu")]
        made = assemble(resolve("distill", [], [*pairs, ("train.channels_last", chosen)]))
        fast, batch = fast_teacher(made), made.sample()
        assert any(isinstance(module, nn.BatchNorm2d) for module in fast.modules()) != chosen
        assert made.teacher is not None
        torch.testing.assert_close(fast(batch).logits, made.teacher(batch).logits, rtol=1e-4, atol=1e-4)

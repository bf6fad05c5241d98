import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import FixedLogits, batch_of

from understudy.config import complete, parse_override
from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.experiments.run import Result
from understudy.experiments.settings import resolve
from understudy.methods.dkd import DKD
from understudy.methods.kd import KD
from understudy.methods.weighting import Ramp
from understudy.types import Outputs

# Ramp, then its weight by epoch of 100.
CURVES: dict[str, tuple[Ramp, dict[float, float]]] = {
    "linear to the end": (Ramp(4, 1), {0: 4, 25: 3.25, 50: 2.5, 99.5: 1.015, 100: 1}),
    "warm-up": (Ramp(0, 1, to_epoch=20), {0: 0, 0.5: 0.025, 5: 0.25, 20: 1, 21: 1, 100: 1}),
    "linear between": (Ramp(1, 3, from_epoch=10, to_epoch=20), {0: 1, 10: 1, 15: 2, 20: 3, 90: 3}),
    "late": (Ramp(1, 3, from_epoch=50), {0: 1, 50: 1, 75: 2, 100: 3}),
    "cosine": (Ramp(1, 0, shape="cosine"), {0: 1, 25: 0.5 + 0.125**0.5, 50: 0.5, 75: 0.5 - 0.125**0.5, 100: 0}),
    "cosine up": (Ramp(0, 2, shape="cosine", to_epoch=10), {0: 0, 5: 1, 10: 2, 50: 2}),
    "step": (Ramp(8, shape="step", every=30, factor=0.5), {0: 8, 29.9: 8, 30: 4, 59: 4, 60: 2, 90: 1}),
    "late step": (Ramp(8, shape="step", from_epoch=10, every=5, factor=0.1), {0: 8, 14: 8, 15: 0.8, 20: 0.08}),
    "step up": (Ramp(1, shape="step", every=10, factor=2), {0: 1, 10: 2, 35: 8}),
}


@pytest.mark.parametrize(("ramp", "curve"), CURVES.values(), ids=CURVES)
def test_curve(ramp: Ramp, curve: dict[float, float]) -> None:
    assert {epoch: ramp.at(epoch, 100) for epoch in curve} == pytest.approx(curve)


@given(
    st.floats(0, 10),
    st.floats(0, 10),
    st.sampled_from(["linear", "cosine"]),
    st.floats(0, 50),
    st.none() | st.floats(51, 200),
    st.integers(1, 100),
)
def test_a_ramp_goes_straight_from_start_to_end(
    start: float, end: float, shape: Any, first: float, last: float | None, num_epochs: int
) -> None:
    ramp = Ramp(start, end, shape, from_epoch=first, to_epoch=last)
    weights = [ramp.at(epoch, num_epochs) for epoch in range(251)]
    assert weights[0] == start
    assert weights[-1] == pytest.approx(end)
    steps = [after - before for before, after in pairwise(weights)]
    assert all(step * (end - start) >= -1e-9 for step in steps)


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: Ramp(-1), "a weight must be 0 or more and finite, got start -1"),
    (lambda: Ramp(1, -1), "a weight must be .* end -1"),
    (lambda: Ramp(1, shape="step", factor=-0.5), "a weight must be .* factor -0.5"),
    (lambda: Ramp(float("nan")), "a weight must be .* start nan"),
    (lambda: Ramp(0, float("inf")), "a weight must be .* end inf"),
    (lambda: Ramp(0, 1, from_epoch=5, to_epoch=5), "to_epoch 5 must be above from_epoch 5"),
    (lambda: Ramp(0, 1, to_epoch=0), "to_epoch 0 must be above from_epoch 0"),
    (lambda: Ramp(1, shape="step", every=0), "every must be above 0 epochs, got 0"),
    (lambda: Ramp(1, shape="square"), "shape must be linear, cosine or step, got 'square'"),  # pyright: ignore
    (lambda: KD(weight={"start": -1}), "a weight must be .* start -1"),  # pyright: ignore
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_ramps_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_dictionary_stands_for_a_ramp() -> None:
    given = {"start": 1, "end": 3, "shape": "cosine", "to_epoch": 4}
    settings = complete(KD, {"weight": given}, "method.kd")
    method = KD(**settings)
    assert method.ramps == KD(weight=Ramp(**given)).ramps == {"kd": Ramp(1, 3, "cosine", to_epoch=4)}
    # What is written into the run's settings makes the same method again.
    assert KD(**complete(KD, settings, "method.kd")).ramps == method.ramps


def test_the_weight_is_a_tensor_that_moves_and_stays_one_object() -> None:
    method = KD(weight=Ramp(0, 1, to_epoch=10))
    weight = method.weight("kd")
    assert weight == 0
    for epoch, expected in [(0, 0), (2.5, 0.25), (10, 1), (50, 1)]:
        method.set_epoch(epoch, 100)
        assert method.weight("kd") is weight
        assert weight == expected


def test_a_fixed_weight_does_not_move() -> None:
    method = DKD(target_weight=2.0, nontarget_weight=Ramp(1, 0))
    method.set_epoch(50, 100)
    assert method.weight("dkd_target") == 2
    assert method.weight("dkd_nontarget") == 0.5


def test_the_distiller_weights_terms_by_the_ramp_and_logs_them_raw() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    distiller = Distiller(FixedLogits(logits), [KD(weight=Ramp(0, 4, to_epoch=2))], label_weight=0.0)
    batch, targets = batch_of(torch.zeros(1, 1), torch.tensor([0])), Outputs(logits.flip(1), {})
    raws: list[float] = []
    for epoch, weight in [(0, 0), (1, 2), (2, 4)]:
        distiller.set_epoch(epoch, 10)
        term = distiller(batch, targets).terms["kd"]
        assert term.weighted.item() == pytest.approx(weight * term.raw.item())
        raws.append(term.raw.item())
    assert raws[0] > 0
    assert raws == [raws[0]] * 3


OVERRIDES: list[tuple[list[str], dict[str, Any]]] = [
    (["method=kd", "method.weight={start: 0, end: 1, to_epoch: 20}"], {"end": 1.0, "to_epoch": 20.0}),
    (["method=[kd,dkd]", "method.kd.weight={start: 0, shape: step}"], {"end": 0.0, "shape": "step"}),
    (["method=[{name: kd, weight: {start: 0, end: 2}}]"], {"end": 2.0, "shape": "linear"}),
]


@pytest.mark.parametrize(("overrides", "expected"), OVERRIDES)
def test_a_ramp_is_set_from_the_command_line(overrides: list[str], expected: dict[str, Any]) -> None:
    common = ["data=digits", "teacher=cnn-s", "student=cnn-xs"]
    settings = resolve("distill", [], [parse_override(text) for text in common + overrides]).method[0]
    assert settings["weight"]["start"] == 0
    assert expected.items() <= settings["weight"].items()
    assert KD(weight=settings["weight"]).ramps == {"kd": Ramp(**settings["weight"])}


def test_a_ramp_ends_within_its_share_of_a_short_training() -> None:
    ramp = Ramp(0, 1, to_epoch=20, max_share=0.5)
    assert [ramp.at(epoch, 10) for epoch in (0, 2.5, 5, 10)] == [0, 0.5, 1, 1]
    assert ramp.at(10, 100) == 0.5
    assert Ramp(0, 1, to_epoch=20).at(10, 10) == 0.5
    with pytest.raises(ValueError, match="max_share must be above 0"):
        Ramp(0, 1, max_share=0)


@pytest.mark.parametrize(
    "weight", [{"start": 0, "finish": 1}, {"end": 1}, {"start": -1}, {"start": 1, "shape": "wave"}]
)
def test_a_ramp_with_a_mistake_is_an_error_that_names_the_key(weight: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"method\.kd\.weight"):
        complete(KD, {"weight": weight}, "method.kd")


def test_a_run_moves_the_weight_with_every_step(
    digits: Callable[..., Result], teacher_run: Path, tmp_path: Path
) -> None:
    method = [{"name": "kd", "weight": {"start": 0.0, "end": 2.0}}]
    digits("distill", tmp_path / "run", teacher=str(teacher_run), method=method, train__log_steps=1)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    weights = [line["train.kd.weighted"] / line["train.kd.raw"] for line in lines if line["kind"] == "step"]
    assert len(weights) == 11
    assert weights == pytest.approx([2 * done / 11 for done in range(11)], abs=1e-5)

import pytest
import torch
from staged_pair import Pair, begin, has_gradient, has_no_gradient, staged_pair, train
from torch import nn
from toys import same_state, state

from understudy.errors import UserError
from understudy.losses.factor import factor_loss
from understudy.methods.ft import FT
from understudy.reach import gradient_norms


def made(**settings: float) -> tuple[FT, Pair]:
    method = FT(**settings)
    return method, staged_pair(method)


def test_paraphraser_is_trained_first_and_the_student_is_not_touched() -> None:
    method, pair = made()
    assert [stage.name for stage in pair.distiller.stages()] == ["paraphrase", "train"]
    student, translator = state(pair.student), state(method.translators)
    losses = train(pair, steps=30, lr=0.05)
    assert losses[-1] < 0.7 * losses[0]
    assert same_state(pair.student, student)
    assert same_state(method.translators, translator)
    assert list(pair.step().terms) == ["ft_reconstruction"]


def test_paraphraser_stands_still_while_the_student_learns() -> None:
    method, pair = made()
    begin(pair, "train")
    encoder, decoder = state(method.encoders), state(method.decoders)
    losses = train(pair, steps=5, lr=0.01)
    # Also in a loop that knows nothing of idle modules.
    pair.distiller.train()
    pair.step()
    assert losses[-1] < losses[0]
    assert same_state(method.encoders, encoder)
    assert same_state(method.decoders, decoder)


def test_gradient_reaches_what_each_stage_trains() -> None:
    method, pair = made()
    pair.step().loss.backward()
    assert has_gradient(method.decoders)
    assert has_no_gradient(pair.student)
    begin(pair, "train")
    pair.distiller.zero_grad()
    pair.step().terms["ft_factor"].weighted.backward()
    assert has_gradient(method.translators)
    assert has_no_gradient(method.encoders)
    assert has_no_gradient(pair.teacher)


def test_the_check_before_training_knows_what_each_stage_trains() -> None:
    _, pair = made()
    assert gradient_norms(pair.distiller, pair.batch, pair.targets)["ft_reconstruction"] > 0
    begin(pair, "train")
    assert gradient_norms(pair.distiller, pair.batch, pair.targets)["ft_factor"] > 0


def test_term_compares_factors_of_the_rate() -> None:
    method, pair = made(rate=0.25)
    begin(pair, "train")
    pair.distiller.eval()
    ours = method.translators[0](pair.features().features["layer3"])
    theirs = method.encoders[0](pair.targets.features["layer3"])
    assert ours.shape[1] == 3
    expected = factor_loss(ours, theirs)
    assert pair.step().terms["ft_factor"].raw.item() == pytest.approx(expected.item(), rel=1e-5)


def test_paraphraser_has_no_batchnorm_and_the_translator_has() -> None:
    method, _ = made()
    assert not any(
        isinstance(layer, nn.BatchNorm2d) for part in (method.encoders, method.decoders) for layer in part.modules()
    )
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in method.translators.modules()) == 3


def test_second_setup_replaces_the_first() -> None:
    method, pair = made()
    pair.distiller.setup(pair.batch, pair.teacher)
    assert len(method.encoders) == len(method.decoders) == len(method.translators) == 1


def test_vectors_are_refused() -> None:
    with pytest.raises(UserError, match=r"FT reads maps .* 'fc:input' is \(8,\) .* 'fc:input' is \(12,\)"):
        staged_pair(FT(pairs=[("fc:input", "fc:input")]))


def test_defaults() -> None:
    method = FT()
    assert (method.rate, method.paraphraser_epochs, method.weight("ft_factor").item()) == (0.5, 30, 200)
    assert torch.equal(method.weight("ft_reconstruction"), torch.tensor(1.0))


@pytest.mark.parametrize("settings", [{"rate": 0.0}, {"paraphraser_epochs": 0}])
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        FT(**settings)

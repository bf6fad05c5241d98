import pytest
import torch
from staged_pair import has_gradient, has_no_gradient, staged_pair, total, train
from torch.nn.functional import adaptive_avg_pool2d

from understudy.errors import UserError
from understudy.losses.variational import variance_of, vid_loss
from understudy.methods.vid import VID


def test_every_channel_starts_with_the_variance_asked_for() -> None:
    method = VID(variance=0.25)
    pair = staged_pair(method)
    assert [scale.shape for scale in method.scales] == [(6,), (8,), (12,)]
    for scale in method.scales:
        assert variance_of(scale).tolist() == pytest.approx([0.25] * len(scale), rel=1e-6)
    assert pair.distiller.label_weight == 1
    assert VID().weight("vid") == 1
    assert VID().variance == 5


def test_term_is_the_sum_over_stages() -> None:
    method = VID()
    pair = staged_pair(method)
    pair.distiller.eval()
    ours, theirs = pair.features().features, pair.targets.features
    losses = [
        vid_loss(mean(ours[layer]), theirs[layer], torch.full((channels,), 5.0))
        for layer, mean, channels in zip(("layer1", "layer2", "layer3"), method.means, (6, 8, 12), strict=True)
    ]
    assert pair.step().terms["vid"].raw.item() == pytest.approx(total(losses), rel=1e-5)


def test_variances_are_learned() -> None:
    method = VID()
    pair = staged_pair(method)
    pair.step().terms["vid"].weighted.backward()
    assert has_gradient(method)
    assert has_no_gradient(pair.teacher)
    before = [scale.detach().clone() for scale in method.scales]
    train(pair, steps=2, lr=0.1)
    assert not any(torch.equal(old, new) for old, new in zip(before, method.scales, strict=True))
    assert "methods.0.scales.0" in pair.distiller.state_dict()
    assert not any("scales" in name for name in pair.distiller.deploy().state_dict())


def test_larger_map_is_averaged_down() -> None:
    method = VID(pairs=[("layer2", "layer3")])
    pair = staged_pair(method)
    pair.distiller.eval()
    ours, theirs = pair.features().features["layer2"], pair.targets.features["layer3"]
    mean = method.means[0](adaptive_avg_pool2d(ours, theirs.shape[2:]))
    expected = vid_loss(mean, theirs, torch.full((12,), 5.0))
    assert pair.step().terms["vid"].raw.item() == pytest.approx(expected.item(), rel=1e-5)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="variance must be above"):
        VID(variance=0.0)
    for pair in (("layer3", "fc:input"), ("fc:input", "fc:input")):
        with pytest.raises(UserError, match=r"VID reads maps .* '(layer3|fc:input)' is .* name other layers"):
            staged_pair(VID(pairs=[pair]))

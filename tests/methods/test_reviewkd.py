import pytest
import torch
from staged_pair import has_gradient, has_no_gradient, staged_pair
from torch import nn
from torch.nn.functional import interpolate

from understudy.errors import UserError
from understudy.losses.pyramid import pyramid_loss
from understudy.methods.reviewkd import ReviewKD

LAYERS = ("layer1.0.preact", "layer2.0.preact", "layer3.0.preact", "fc:input")


def test_layers_are_the_preactivations_and_what_goes_into_the_head() -> None:
    method = ReviewKD()
    staged_pair(method)
    assert method.pairs == tuple(zip(LAYERS, LAYERS, strict=True))
    given = ReviewKD(pairs=[("layer3", "layer3")])
    staged_pair(given)
    assert given.pairs == (("layer3", "layer3"),)


def test_term_is_the_sum_over_levels_each_fused_with_the_deeper_one() -> None:
    method = ReviewKD(pairs=[("layer2", "layer2"), ("fc:input", "fc:input")], weight=1.0)
    pair = staged_pair(method)
    pair.distiller.eval()
    ours, theirs = pair.features().features, pair.targets.features
    deep = method.reduces[1](ours["fc:input"][:, :, None, None])
    shallow = method.reduces[0](ours["layer2"])
    below = interpolate(deep, shallow.shape[2:])
    attention = method.attentions[0].weigh(torch.cat([shallow, below], 1))
    fused = shallow * attention[:, :1] + below * attention[:, 1:]
    expected = pyramid_loss(method.expands[0](fused), theirs["layer2"])
    expected = expected + pyramid_loss(method.expands[1](deep), theirs["fc:input"][:, :, None, None])
    assert pair.step().terms["reviewkd"].raw.item() == pytest.approx(expected.item(), rel=1e-5)


def test_deep_layers_learn_from_shallow_ones_of_the_teacher_and_not_the_other_way_round() -> None:
    method = ReviewKD(pairs=[("layer1", "layer1"), ("layer3", "layer3")])
    pair = staged_pair(method)
    pair.distiller.eval()
    targets = pair.targets

    def reached(changed: str) -> dict[str, bool]:
        """Which layers' gradients change with a feature of the teacher."""
        other = targets._replace(features={**targets.features, changed: targets.features[changed] + 1})
        terms = [pair.distiller(pair.batch, said).terms["reviewkd"].weighted for said in (targets, other)]
        found: dict[str, bool] = {}
        for name in ("reduces.0.0.weight", "reduces.1.0.weight"):
            weight = method.get_parameter(name)
            before, after = (torch.autograd.grad(term, weight, retain_graph=True)[0] for term in terms)
            found[name] = not torch.equal(before, after)
        return found

    assert reached("layer1") == {"reduces.0.0.weight": True, "reduces.1.0.weight": True}
    assert reached("layer3") == {"reduces.0.0.weight": False, "reduces.1.0.weight": True}


def test_gradient_reaches_student_and_adapters() -> None:
    method = ReviewKD()
    pair = staged_pair(method)
    pair.step().terms["reviewkd"].weighted.backward()
    assert has_gradient(method)
    assert has_gradient(pair.student.get_submodule("layer1"))
    assert has_no_gradient(pair.teacher)
    names = set(pair.distiller.deploy().state_dict())
    assert names == set(pair.student.state_dict())


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.25), (9, 2.5), (19, 5), (200, 5)])
def test_weight_rises_by_a_twentieth_in_each_of_twenty_epochs(epoch: int, weight: float) -> None:
    method = ReviewKD()
    method.set_epoch(epoch, 240)
    assert method.weight("reviewkd").item() == pytest.approx(weight)


def test_warm_up_takes_at_most_a_fifth_of_a_short_training() -> None:
    method = ReviewKD()
    weights: list[float] = []
    for epoch in (0, 3, 6, 29):
        method.set_epoch(epoch, 30)
        weights.append(method.weight("reviewkd").item())
    assert weights == pytest.approx([0.25, 2.625, 5, 5])


def test_networks_without_maps_are_one_line() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(UserError, match=r"ReviewKD reads 'preact', of which one .* has none .*: set pairs=") as caught:
        staged_pair(ReviewKD(), student=flat)
    assert "\n" not in str(caught.value)


def test_a_number_is_a_weight_without_warm_up() -> None:
    method = ReviewKD(weight=0.6)
    method.set_epoch(0, 240)
    assert method.weight("reviewkd").item() == pytest.approx(0.6)


def test_levels_are_as_wide_as_the_students_deepest_feature() -> None:
    method = ReviewKD()
    staged_pair(method)
    assert [module.out_channels for module in method.reduces.modules() if isinstance(module, nn.Conv2d)] == [8] * 4

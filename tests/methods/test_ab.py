import pytest
import torch
from reference import boundary
from staged_pair import begin, has_gradient, has_no_gradient, network, staged_pair, train
from torch import nn
from toys import same_state, state

from understudy.errors import UserError
from understudy.methods.ab import AB

PREACT = ("layer1.0.preact", "layer2.0.preact", "layer3.0.preact")


def test_term_is_that_of_the_reference_with_a_quarter_a_half_and_one() -> None:
    method = AB()
    pair = staged_pair(method)
    pair.distiller.eval()
    ours, theirs = pair.features().features, pair.targets.features
    losses = [
        boundary.ab_value(connect(ours[layer]).detach().double().numpy(), theirs[layer].double().numpy(), 1.0).real
        for layer, connect in zip(PREACT, method.connectors, strict=True)
    ]
    assert method.pairs == tuple(zip(PREACT, PREACT, strict=True))
    term = pair.step().terms["ab"]
    assert term.raw.item() == pytest.approx(losses[0] / 4 + losses[1] / 2 + losses[2], rel=1e-5)
    # As RepDistiller scales the sum.
    assert term.weighted.item() == pytest.approx(term.raw.item() * 3 / 1000, rel=1e-6)


def test_first_stage_trains_up_to_the_deepest_pair() -> None:
    pair = staged_pair(AB(weight=0.1))
    head = state(pair.student.get_submodule("fc"))
    body = state(pair.student.get_submodule("layer3"))
    losses = train(pair, steps=10, lr=0.01)
    assert losses[-1] < losses[0]
    assert same_state(pair.student.get_submodule("fc"), head)
    assert not same_state(pair.student.get_submodule("layer3"), body)


def test_second_stage_is_the_labels_alone() -> None:
    method = AB()
    pair = staged_pair(method)
    assert list(pair.step().terms) == ["ab"]
    begin(pair, "train")
    connectors = state(method.connectors)
    train(pair, steps=2, lr=0.01)
    assert list(pair.step().terms) == ["ce"]
    assert torch.equal(method.connectors[0][0].weight, connectors["0.0.weight"])


def test_gradient_reaches_student_and_connectors() -> None:
    method = AB()
    pair = staged_pair(method)
    pair.step().loss.backward()
    assert has_gradient(method.connectors)
    assert has_gradient(pair.student.get_submodule("layer3"))
    assert has_no_gradient(pair.teacher)
    assert not any("connectors" in name for name in pair.distiller.deploy().state_dict())


def test_connector_stands_only_where_shapes_differ() -> None:
    connectors = [(shape, AB().connector(shape, (6, 4, 4))) for shape in ((6, 4, 4), (4, 4, 4), (6, 8, 8), (6, 2, 2))]
    for shape, connect in connectors:
        assert connect(torch.rand(2, *shape)).shape == (2, 6, 4, 4)
        assert not any(isinstance(layer, nn.ReLU) for layer in connect.modules())
    assert isinstance(connectors[0][1], nn.Identity)
    convolutions = [connect[0] for _, connect in connectors[1:]]
    assert [(layer.kernel_size, layer.bias is not None) for layer in convolutions] == [
        ((1, 1), True),
        ((3, 3), True),
        ((4, 4), True),
    ]


def test_equal_networks_have_no_connector() -> None:
    method = AB()
    pair = staged_pair(method, teacher=network(seed=1))
    assert not list(method.connectors.parameters())
    pair.step().loss.backward()
    assert has_gradient(pair.student.get_submodule("layer3"))


def test_vectors_are_refused() -> None:
    with pytest.raises(UserError, match=r"AB reads maps .* 'fc:input'"):
        staged_pair(AB(pairs=[("fc:input", "fc:input")]))


@pytest.mark.parametrize("settings", [{"margin": 0.0}, {"init_epochs": 0}])
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        AB(**settings)
    assert AB().init_epochs == 30

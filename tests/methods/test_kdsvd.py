import pytest
from staged_pair import STUDENT_WIDTHS, has_gradient, has_no_gradient, network, staged_pair

from understudy.errors import UserError
from understudy.losses.singular import svd_loss
from understudy.methods.kdsvd import KDSVD

LAYERS = ("layer1", "layer2", "layer3")


@pytest.mark.parametrize("num_vectors", [1, 2])
def test_term_relates_the_stages(num_vectors: int) -> None:
    pair = staged_pair(KDSVD(num_vectors=num_vectors), teacher=network(STUDENT_WIDTHS, seed=1))
    pair.distiller.eval()
    ours, theirs = pair.features().features, pair.targets.features
    expected = svd_loss([ours[x] for x in LAYERS], [theirs[x] for x in LAYERS], num_vectors=num_vectors)
    assert pair.step().terms["kdsvd"].raw.item() == pytest.approx(expected.item(), rel=1e-4)


def test_gradient_reaches_the_student_only() -> None:
    pair = staged_pair(KDSVD(), teacher=network(STUDENT_WIDTHS, seed=1))
    pair.step().terms["kdsvd"].weighted.backward()
    assert has_gradient(pair.student.get_submodule("layer1"))
    assert has_no_gradient(pair.teacher)
    assert not list(pair.distiller.methods.parameters())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="num_vectors must be 1 or more"):
        KDSVD(num_vectors=0)
    with pytest.raises(UserError, match=r"equal channels, but 'layer1' and 'layer1' have shapes \(4, 8, 8\)"):
        staged_pair(KDSVD())
    with pytest.raises(UserError, match="two pairs of layers or more"):
        staged_pair(KDSVD(pairs=[("layer1", "layer1")]))

import numpy as np
import pytest
import torch
from reference import teachers as reference
from torch import nn

from understudy.classifier import Classifier, InputSpec
from understudy.errors import UserError
from understudy.teachers import AdjustedClassifier, MergeClasses, groups_by_map, groups_by_name

LOGITS = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
SPEC = InputSpec((1, 1), 1, (0.0,), (1.0,))
THEIRS = ["ant", "bee", "beagle", "husky", "tabby"]


def linear(num_classes: int = 5) -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, num_classes))
    return Classifier(network, spec=SPEC, classes=THEIRS[:num_classes]).eval()


@pytest.mark.parametrize(
    "groups", [((0,), (1,)), ((2, 3), (4,)), ((4, 0, 2), (1,), (3,)), ((3,), (0,), (4,), (1,), (2,))]
)
def test_merged_probabilities_are_sums(groups: tuple[tuple[int, ...], ...]) -> None:
    found = MergeClasses(groups)(LOGITS).softmax(1)
    np.testing.assert_allclose(found, reference.merged_probabilities(LOGITS.numpy(), groups), atol=1e-12)


def test_single_classes_keep_their_logits() -> None:
    assert torch.equal(MergeClasses(((3,), (0,)))(LOGITS), LOGITS[:, [3, 0]])


def test_saturated_logits_and_half_precision() -> None:
    logits = torch.tensor([[80.0, -80.0, 80.0]], requires_grad=True)
    merged = MergeClasses(((0, 1), (2,)))(logits)
    merged.softmax(1)[0, 0].backward()
    assert merged.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert MergeClasses(((0, 1), (2,)))(logits.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("groups", [(), ((0,), ())])
def test_an_empty_group_is_refused(groups: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="at least one class of the teacher"):
        MergeClasses(groups)


def test_equal_names_pair_in_any_order() -> None:
    assert groups_by_name(["husky", "ant"], THEIRS) == ((3,), (0,))
    assert groups_by_name(["husky", "cat"], THEIRS) is None
    assert groups_by_name(["ant"], ["ant", "ant"]) is None


def test_a_map_groups_and_leaves_the_rest_to_the_names() -> None:
    chosen = {"dog": ["beagle", "husky"], "cat": ["tabby"]}
    assert groups_by_map(["bee", "cat", "dog"], THEIRS, chosen) == ((1,), (4,), (2, 3))


@pytest.mark.parametrize(
    ("ours", "chosen", "message"),
    [
        (["dog", "cat"], {"dog": ["beagle"]}, "says nothing about 'cat'"),
        (["dog", "ant"], {"dog": ["beagel"]}, "teacher has no class 'beagel': did you mean 'beagle'"),
        (["dog", "ant"], {"dogs": ["beagle"]}, "student has no class 'dogs': did you mean 'dog'"),
        (["dog", "ant"], {"dog": ["beagle", "ant"]}, "'ant' twice"),
        (["dog", "ant"], {"dog": []}, "gives 'dog' no class"),
    ],
)
def test_what_does_not_fit_is_one_line(ours: list[str], chosen: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        groups_by_map(ours, THEIRS, chosen)
    assert "\n" not in str(caught.value)


def test_adjusted_classifier_keeps_layers_and_state() -> None:
    model = linear()
    adjusted = AdjustedClassifier(model, classes=("dog", "ant"), groups=((2, 3), (0,))).eval()
    assert adjusted.classes == ("dog", "ant")
    assert adjusted.state_dict().keys() == model.state_dict().keys()
    image = torch.rand(4, 1, 1, 1)
    expected = torch.stack([model(image)[:, [2, 3]].logsumexp(1), model(image)[:, 0]], 1)
    torch.testing.assert_close(adjusted(image), expected)


def test_temperature_changes_certainty_and_no_decision() -> None:
    adjusted = AdjustedClassifier(linear()).eval()
    image = torch.rand(4, 1, 1, 1)
    before = adjusted(image)
    adjusted.set_temperature(2.5)
    torch.testing.assert_close(adjusted(image), before / 2.5)
    assert torch.equal(adjusted(image).argmax(1), before.argmax(1))
    with pytest.raises(ValueError, match="above 0"):
        adjusted.set_temperature(0)

import numpy as np
import pytest
import torch
from reference import teachers as reference
from torch import Tensor, nn
from toys import FixedLogits, batch_of, random_batch, same_state, small_network, state

from understudy.distiller import Distiller
from understudy.losses import kd_loss
from understudy.methods.kd import KD
from understudy.teachers import Ensemble, Teacher, members_of

MEMBERS = [torch.tensor([[4, 0, 0]], dtype=torch.float64), torch.tensor([[0, 2, 0]], dtype=torch.float64)]
IMAGE = torch.zeros(1, 1, 8, 8)


def ensemble(logits: list[Tensor], **options: object) -> Ensemble:
    return Ensemble([FixedLogits(each) for each in logits], **options)  # type: ignore[arg-type]


def random_members(num: int = 3, *, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(5, 7, dtype=torch.float64, generator=generator) * scale).to(dtype) for _ in range(num)]


def arrays(members: list[Tensor]) -> list[reference.Array]:
    return [member.double().numpy() for member in members]


def test_golden_average_of_logits() -> None:
    softened = (ensemble(MEMBERS)(IMAGE) / 4).softmax(1)
    np.testing.assert_allclose(softened[0].detach(), [0.419229, 0.326496, 0.254275], atol=5e-7)


def test_golden_average_of_probabilities() -> None:
    softened = (ensemble(MEMBERS, average="probabilities", temperature=4.0)(IMAGE) / 4).softmax(1)
    np.testing.assert_allclose(softened[0].detach(), [0.425093, 0.331902, 0.243005], atol=5e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shares", [[1.0, 1.0, 1.0], [3.0, 1.0, 0.5]])
def test_averages_equal_the_reference(dtype: torch.dtype, tolerance: float, shares: list[float]) -> None:
    members = random_members(dtype=dtype)
    logits = ensemble(members, shares=shares)(IMAGE).detach()
    np.testing.assert_allclose(logits, reference.mean_of_logits(arrays(members), shares), atol=tolerance)
    for temperature in (1.0, 4.0):
        options = {"average": "probabilities", "temperature": temperature}
        found = (ensemble(members, shares=shares, **options)(IMAGE) / temperature).softmax(1).detach()
        expected = reference.mean_of_probabilities(arrays(members), shares, temperature)
        np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_averaged_logits_are_the_normalised_geometric_mean_of_probabilities(temperature: float) -> None:
    members = random_members()
    product = torch.stack([(member / temperature).softmax(1) for member in members]).log().mean(0).exp()
    expected = product / product.sum(1, keepdim=True)
    torch.testing.assert_close((ensemble(members)(IMAGE) / temperature).softmax(1).detach(), expected)


def test_averages_of_probabilities_differ_by_temperature() -> None:
    at_one, at_four = (
        (ensemble(MEMBERS, average="probabilities", temperature=t)(IMAGE) / 4).softmax(1).detach() for t in (1.0, 4.0)
    )
    assert (at_one - at_four).abs().max() > 0.01


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_equal_members_and_one_member_change_nothing(average: str) -> None:
    [member] = random_members(1)
    for count in (1, 3):
        found = ensemble([member] * count, average=average, temperature=2.0)(IMAGE).detach()
        torch.testing.assert_close((found / 2).softmax(1), (member / 2).softmax(1))


def test_saturated_members_stay_finite() -> None:
    logits = [torch.tensor([[80.0, -80.0, 0.0]]), torch.tensor([[-80.0, 80.0, 0.0]])]
    for average in ("logits", "probabilities"):
        targets = ensemble(logits, average=average)(IMAGE).detach()
        assert targets.isfinite().all()
        student = torch.tensor([[-80.0, 0.0, 80.0]], requires_grad=True)
        kd_loss(student, targets, 1.0).backward()
        assert student.grad is not None
        assert student.grad.isfinite().all()


def test_half_precision_is_averaged_in_float32() -> None:
    members = [FixedLogits(logits.bfloat16()) for logits in random_members()]
    for average in ("logits", "probabilities"):
        logits = Ensemble(members, average=average)(IMAGE)  # type: ignore[arg-type]
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average": "votes"}, "logits or probabilities"),
        ({"shares": [1.0]}, "one for each of 2"),
        ({"shares": [1.0, 0.0]}, "above 0"),
        ({"shares": [1.0, float("inf")]}, "finite"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ensemble(MEMBERS, **options)


def test_an_ensemble_has_members() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([])
    networks = [small_network(seed=seed) for seed in (1, 2)]
    assert members_of(Ensemble(networks)) == networks
    assert members_of(networks[0]) == [networks[0]]


def test_an_ensemble_teaches_and_stays_as_it_is() -> None:
    model = Ensemble([small_network(seed=seed) for seed in (1, 2)])
    before = state(model)
    teacher, distiller = Teacher(model, taps=["members.1.conv"]), Distiller(small_network(), [KD()])
    batch = random_batch()
    targets = teacher(batch)
    assert targets.features["members.1.conv"].shape == (6, 4, 8, 8)
    distiller(batch, targets).loss.backward()
    assert all(parameter.grad is not None for parameter in distiller.parameters())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert same_state(model, before)


def test_compiled_equals_eager() -> None:
    model = Teacher(Ensemble([small_network(seed=seed) for seed in (1, 2)], average="probabilities", temperature=4.0))
    image = random_batch().image
    assert isinstance(model.tapped.model, nn.Module)
    compiled = torch.compile(model.tapped.model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), model(batch_of(image)).logits)

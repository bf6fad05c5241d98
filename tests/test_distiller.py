from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils._pytree import tree_leaves
from toys import FixedLogits, batch_of, random_batch, same_state, small_network, state

from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.methods.base import Facts, Method, Taps
from understudy.methods.kd import KD
from understudy.methods.logit_mse import LogitMSE
from understudy.methods.soft_ce import SoftCE
from understudy.reach import gradient_norms
from understudy.teachers import Teacher
from understudy.types import Batch, Outputs, Terms


class Hint(Method):
    """A method with a layer of its own: match the teacher's feature by a convolution on the student's."""

    def __init__(self, *, weight: float = 1.0, tap: str = "relu") -> None:
        super().__init__({"hint": weight})
        self.tap = tap

    def taps(self) -> Taps:
        return Taps(("relu",), (self.tap,))

    def setup(self, facts: Facts) -> None:
        self.regressor = nn.Conv2d(facts.student["relu"][0], facts.teacher[self.tap][0], 1)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        return {"hint": mse_loss(self.regressor(student.features["relu"]), teacher.features[self.tap])}


class Given(Method):
    """A method whose term is any function of the student's logits."""

    def __init__(self, term: Callable[[Tensor], Tensor], *, name: str = "given", weight: float = 1.0) -> None:
        super().__init__({name: weight})
        self.term = term

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Terms:
        return {self.terms[0]: self.term(student.logits)}


TARGETS = Outputs(torch.randn(6, 3, generator=torch.Generator().manual_seed(3)), {})


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


def gradients_of(distiller: Distiller, seed: int = 0) -> list[Tensor]:
    torch.manual_seed(seed)
    distiller(random_batch(), TARGETS).loss.backward()
    return gradients(distiller)


def hinted(weight: float = 1.0) -> tuple[Distiller, Teacher]:
    teacher = Teacher(small_network(width=6, seed=1), taps=["relu"])
    distiller = Distiller(small_network(), [Hint(weight=weight)])
    distiller.setup(random_batch(), teacher)
    return distiller, teacher


def test_loss_is_the_sum_of_its_weighted_terms() -> None:
    methods = [KD(weight=0.7), LogitMSE(weight=0.2), SoftCE(weight=0.05)]
    loss, terms, outputs = Distiller(small_network(), methods, label_weight=0.3)(random_batch(), TARGETS)
    assert list(terms) == ["ce", "kd", "logit_mse", "soft_ce"]
    weights = [0.3, 0.7, 0.2, 0.05]
    for term, weight in zip(terms.values(), weights, strict=True):
        assert term.weighted.item() == pytest.approx(weight * term.raw.item(), rel=1e-6)
        assert term.raw.requires_grad, "the start-up check follows the raw term, whatever its weight is now"
    assert loss.item() == pytest.approx(sum(term.weighted.item() for term in terms.values()), abs=1e-6)
    assert outputs.logits.shape == (6, 3)


def test_label_weight_one_is_cross_entropy_bit_for_bit() -> None:
    batch, network = random_batch(), small_network()
    loss, terms, _ = Distiller(deepcopy(network), [LogitMSE(weight=0)], label_weight=1)(batch, TARGETS)
    torch.manual_seed(0)
    plain = cross_entropy(small_network()(batch.image), batch.label)
    assert torch.equal(loss, plain)
    assert terms["logit_mse"].raw > 0
    assert terms["logit_mse"].weighted == 0


def test_label_weight_zero_is_the_method_alone() -> None:
    loss, terms, _ = Distiller(FixedLogits(TARGETS.logits + 1), [LogitMSE(weight=1)], label_weight=0)(
        random_batch(), TARGETS
    )
    assert list(terms) == ["logit_mse"]
    assert loss.item() == pytest.approx(1)


@pytest.mark.parametrize("method", [KD, LogitMSE, SoftCE])
def test_weight_zero_trains_exactly_as_without_the_method(method: type[Method]) -> None:
    plain = gradients_of(Distiller(small_network()))
    off = gradients_of(Distiller(small_network(), [method(weight=0.0)], label_weight=1))
    on = gradients_of(Distiller(small_network(), [method(weight=0.1)], label_weight=1))
    assert all(torch.equal(a, b) for a, b in zip(off, plain, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(on, plain, strict=True))


@pytest.mark.parametrize(("methods", "weight"), [([], 1.0), ([KD()], 0.1), ([LogitMSE(), KD()], 0.1)])
def test_label_weight_is_the_smallest_of_the_methods(methods: list[Method], weight: float) -> None:
    assert Distiller(small_network(), methods).label_weight.item() == pytest.approx(weight)


def test_unlabelled_images_have_no_label_loss() -> None:
    unlabelled = random_batch()._replace(label=None)
    distiller = Distiller(small_network(), [KD()])
    assert list(distiller(unlabelled, TARGETS).terms) == ["kd"]
    with pytest.raises(ValueError, match="there is no loss"):
        Distiller(small_network())(unlabelled)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Distiller(small_network(), [KD(), KD(temperature=1.0)]), "two loss terms are called 'kd'"),
        (lambda: Distiller(small_network(), [Given(Tensor.mean, name="ce")]), "two loss terms are called 'ce'"),
        (lambda: Distiller(small_network(), label_weight=-1), "label_weight must be 0 or more and finite, got -1"),
        (lambda: Distiller(small_network(), label_weight=float("inf")), "label_weight must be .* got inf"),
        (lambda: KD(weight=-0.5), "the weight of 'kd' must be 0 or more and finite, got -0.5"),
        (lambda: KD(weight=float("nan")), "the weight of 'kd' must be .* got nan"),
        (lambda: KD(temperature=0.0), "temperature must be above 0, got 0"),
        (lambda: SoftCE(temperature=0.0), "temperature must be above 0, got 0"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_missing_targets_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"KD needs targets: call distiller\(batch, teacher\(batch\)\)"):
        Distiller(small_network(), [KD()])(random_batch())


def test_adapter_trains_with_the_student_and_is_not_deployed() -> None:
    distiller, teacher = hinted()
    batch, before = random_batch(), state(distiller)
    adapter = [name for name in before if "regressor" in name]
    assert len(adapter) == 2
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.1)
    first = distiller(batch, teacher(batch)).terms["hint"].raw
    for _ in range(5):
        optimizer.zero_grad()
        loss, terms, _ = distiller(batch, teacher(batch))
        loss.backward()
        optimizer.step()
    after = distiller.state_dict()
    assert all(not torch.equal(after[name], before[name]) for name in [*adapter, "student.model.conv.weight"])
    assert terms["hint"].raw < first
    assert distiller.deploy().state_dict().keys() == small_network().state_dict().keys()


def test_deployed_student_gives_the_same_logits_and_the_distiller_goes_on() -> None:
    distiller, teacher = hinted()
    distiller.eval()
    batch = random_batch()
    loss, _, outputs = distiller(batch, teacher(batch))
    student = distiller.deploy()
    assert torch.equal(student(batch.image), outputs.logits)
    student(torch.zeros(2, 1, 8, 8))
    assert torch.equal(distiller(batch, teacher(batch)).loss, loss)


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_setup_refuses_a_layer_that_is_overwritten_in_place(side: str) -> None:
    sound, overwriting = small_network(), small_network()
    overwriting.pool = nn.Sequential(nn.Hardtanh(-0.1, 0.1, inplace=True), nn.AdaptiveAvgPool2d(2))
    student, teacher = (overwriting, sound) if side == "student" else (sound, overwriting)
    distiller = Distiller(student, [Hint()])
    with pytest.raises(UserError, match="layer 'relu' is overwritten in place"):
        distiller.setup(random_batch(), Teacher(teacher, taps=["relu"]))


def test_setup_changes_neither_model() -> None:
    student, model = small_network(), small_network(seed=1)
    distiller, teacher = Distiller(student, [Hint()]).train(), Teacher(model, taps=["relu"])
    before = state(student), state(model)
    distiller.setup(random_batch(), teacher)
    assert same_state(student, before[0])
    assert same_state(model, before[1])
    assert all(module.training for module in student.modules())


def test_state_is_that_of_the_student_and_the_adapters() -> None:
    student = small_network()
    assert Distiller(student, [KD()]).state_dict().keys() == {f"student.model.{name}" for name in student.state_dict()}


def test_losses_are_float32_under_autocast() -> None:
    distiller, teacher = hinted()
    distiller.methods.extend([KD(), Given(lambda logits: (logits @ logits.T).mean())])
    batch = random_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, terms, outputs = distiller(batch, teacher(batch))
    assert outputs.logits.dtype == torch.bfloat16
    assert list(terms) == ["ce", "hint", "kd", "given"]
    for number in (loss, *tree_leaves(terms)):
        assert number.dtype == torch.float32
        assert number.isfinite()
    loss.backward()
    assert all(gradient.isfinite().all() for gradient in gradients(distiller))


def test_gradient_norms_are_those_of_the_weighted_terms() -> None:
    distiller = Distiller(small_network(), [KD(weight=0.5), LogitMSE(weight=0.0)], label_weight=2.0)
    norms = gradient_norms(distiller, random_batch(), TARGETS)
    distiller.eval()
    for name, term in distiller(random_batch(), TARGETS).terms.items():
        distiller.zero_grad()
        term.weighted.backward(retain_graph=True)
        assert norms[name] == pytest.approx(torch.cat([g.flatten() for g in gradients(distiller)]).norm().item())
    assert norms["ce"] > 0
    assert norms["kd"] > 0
    assert norms["logit_mse"] == 0


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (lambda logits: logits.detach().square().mean(), "'given' has no gradient to the student .* train nothing"),
        (lambda logits: (0 * logits).sum() + 1, "'given' is 1 but its gradient does not reach the student"),
    ],
)
def test_gradient_norms_refuse_a_term_that_trains_nothing(term: Callable[[Tensor], Tensor], message: str) -> None:
    distiller = Distiller(small_network(), [Given(term)])
    with pytest.raises(UserError, match=message):
        gradient_norms(distiller, random_batch(), TARGETS)


def test_gradient_norms_refuse_a_term_that_trains_only_its_adapter() -> None:
    teacher = Teacher(small_network(seed=1), taps=["relu"])
    student = small_network()
    student.relu.register_forward_hook(lambda module, inputs, output: output.detach())
    distiller = Distiller(student, [Hint()])
    distiller.setup(random_batch(), teacher)
    with pytest.raises(UserError, match=r"'hint' is .* but its gradient does not reach the student"):
        gradient_norms(distiller, random_batch(), teacher(random_batch()))


def test_gradient_norms_refuse_a_frozen_student() -> None:
    distiller = Distiller(small_network().requires_grad_(False), [KD()])
    with pytest.raises(UserError, match="no trainable parameter"):
        gradient_norms(distiller, random_batch(), TARGETS)


def test_gradient_norms_change_nothing() -> None:
    distiller, teacher = hinted()
    distiller.train()
    distiller.student.model.bn.eval()
    batch = random_batch()
    distiller(batch, teacher(batch)).loss.backward()
    before, stored, random = state(distiller), gradients(distiller), torch.get_rng_state()
    flags = [module.training for module in distiller.modules()]
    with torch.no_grad():
        gradient_norms(distiller, batch, teacher(batch))
    assert same_state(distiller, before)
    assert all(torch.equal(a, b) for a, b in zip(gradients(distiller), stored, strict=True))
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in distiller.modules()] == flags


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_step_is_the_same_and_follows_weights_without_another_compilation() -> None:
    num_graphs = 0

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        nonlocal num_graphs
        num_graphs += 1
        return graph.forward

    kd = KD()
    distiller = Distiller(small_network(), [kd]).eval()
    compiled, batch = torch.compile(distiller, backend=count, fullgraph=True), random_batch()
    for temperature in (4.0, 5.0, 6.0):
        kd.temperature.fill_(temperature)
        kd.weight("kd").fill_(temperature / 10)
        assert torch.equal(compiled(batch, TARGETS).loss, distiller(batch, TARGETS).loss)
    assert num_graphs == 1


def test_runs_inside_distributed_data_parallel(tmp_path: Path) -> None:
    distiller, teacher = hinted()
    batch = random_batch()
    alone = deepcopy(distiller)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(distiller)
        torch.manual_seed(0)
        step = parallel(batch, teacher(batch))
        step.loss.backward()
    finally:
        torch.distributed.destroy_process_group()
    torch.manual_seed(0)
    alone(batch, teacher(batch)).loss.backward()
    assert all(torch.equal(a, b) for a, b in zip(gradients(distiller), gradients(alone), strict=True))


def test_every_tensor_of_a_step_is_a_leaf_of_its_tree() -> None:
    distiller, teacher = hinted()
    step = distiller(random_batch(), teacher(random_batch()))
    leaves = tree_leaves(step)
    assert len(leaves) == 1 + 2 * 2 + 2
    assert all(isinstance(leaf, Tensor) for leaf in leaves)


def train(distiller: Distiller, batch: Batch, targets: Outputs | None = None, *, num_steps: int) -> float:
    """A plain loop; the accuracy on the batch."""
    optimizer = torch.optim.Adam(distiller.parameters(), lr=0.02)
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss, _, outputs = distiller(batch, targets)
        loss.backward()
        optimizer.step()
    return (outputs.logits.argmax(1) == batch.label).double().mean().item()


def test_plain_loop_overfits_64_digits() -> None:
    from sklearn.datasets import load_digits

    from understudy.models.small_cnn import cnn_s

    digits = load_digits()
    image = torch.from_numpy(digits.images[:64]).float()[:, None] / 16
    batch = batch_of(image, torch.from_numpy(digits.target[:64]))
    torch.manual_seed(0)
    model = cnn_s(num_classes=10, in_channels=1)
    train(Distiller(model), batch, num_steps=60)
    teacher = Teacher(model)
    student = cnn_s(num_classes=10, in_channels=1)
    assert train(Distiller(student, [KD()]), batch, teacher(batch), num_steps=60) == 1

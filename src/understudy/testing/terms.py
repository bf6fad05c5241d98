"""What a method's terms are, and what they reach."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor
from torch.testing import assert_close

from understudy.distiller import NO_TARGETS, Distiller
from understudy.methods.base import Method
from understudy.testing.case import Case, gradients, method_of, own_terms
from understudy.types import Batch, Outputs, Terms


def check_terms(case: Case) -> None:
    """Every stage returns finite scalars by the names that the constructor gave weights to; together all of them."""
    seen: set[str] = set()
    for stage, distiller in case.staged():
        known = method_of(distiller).terms
        step = case.step(distiller)
        for name, term in own_terms(step).items():
            case.require(name in known, f"stage '{stage.name}' returns '{name}', unlike the weights {known}; rename it")
            case.require(
                term.ndim == 0 and bool(term.isfinite()) and term.dtype == torch.float32,
                f"'{name}' must be one finite float32 number, got shape {tuple(term.shape)}, {term.dtype}, "
                f"{term.flatten()[:3].tolist()}; reduce over the batch",
            )
            seen.add(name)
    missing = sorted(set(method_of(case.build()).terms) - seen)
    case.require(not missing, f"no stage returns {', '.join(missing)}, which have weights; return or remove them")


def check_gradient(case: Case) -> None:
    """Gradients reach the student, and over all stages every parameter of the adapters; all are finite."""
    reached: set[str] = set()
    for stage, distiller in case.staged():
        terms = own_terms(case.step(distiller))
        for name, term in terms.items():
            case.require(
                term.requires_grad,
                f"'{name}' has no gradient in stage '{stage.name}'; do not detach the student's side",
            )
        if not terms:
            continue
        torch.stack(list(terms.values())).sum().backward()
        for name, gradient in gradients(distiller).items():
            case.require(bool(gradient.isfinite().all()), f"the gradient of {name} is not finite on ordinary images")
            # A bias in front of BatchNorm has a gradient of 0.
            if gradient.any() or (gradient.ndim < 2 and name.startswith("methods.")):
                reached.add(name)
    case.require(
        any(name.startswith("student.") for name in reached),
        "no term reaches the student; do not detach its logits or features",
    )
    adapters = {name for name, p in case.build().named_parameters() if name.startswith("methods.") and p.requires_grad}
    idle = sorted(name.removeprefix("methods.0.") for name in adapters - reached)
    case.require(not idle, f"no term reaches the adapter's {', '.join(idle)}; use it, remove it or freeze it")


def check_targets(case: Case) -> None:
    """No gradient goes back into what the teacher said, and no parameter of the teacher is the method's own."""
    for stage, distiller in case.staged():
        targets = case.targets()
        if targets is None or not stage.student:
            continue
        logits = targets.logits.clone().requires_grad_()
        features = {name: feature.clone().requires_grad_() for name, feature in targets.features.items()}
        terms = own_terms(distiller(case.batch, Outputs(logits, features)))
        if terms:
            torch.stack(list(terms.values())).sum().backward()
        leaking = [name for name, given in {"logits": logits, **features}.items() if given.grad is not None]
        case.require(
            not leaking,
            f"stage '{stage.name}' sends a gradient into the teacher's {', '.join(leaking)}; detach the teacher's side",
        )
        owned = {id(p) for p in distiller.parameters()} & {id(p) for p in case.teacher.parameters()}
        case.require(not owned, "it holds the teacher's own parameters, so they would be trained; copy what it needs")


def check_unlabelled(case: Case) -> None:
    """A method that needs no labels gives the same terms without them."""
    if case.method.needs_labels:
        return
    for stage, distiller in case.staged():
        without = deepcopy(distiller)
        expected = own_terms(case.step(distiller))
        if not expected:
            continue
        torch.manual_seed(0)
        found = own_terms(without(case.batch._replace(label=None), case.targets()))
        case.require(
            found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected),
            f"stage '{stage.name}' depends on the labels; declare needs_labels: ClassVar[bool] = True",
        )


def check_bf16(case: Case) -> None:
    """Under autocast the loss is float32, and finite with its gradient."""
    for stage, distiller in case.staged():
        with torch.autocast("cpu", torch.bfloat16):
            step = case.step(distiller)
        step.loss.backward()
        wrong = [name for name, term in own_terms(step).items() if term.dtype != torch.float32 or not term.isfinite()]
        bad = [name for name, gradient in gradients(distiller).items() if not gradient.isfinite().all()]
        case.require(
            not wrong and not bad,
            f"stage '{stage.name}' is not float32 or not finite under bf16 autocast: {', '.join([*wrong, *bad])}; "
            "compute in float32, and keep logarithms and roots away from 0",
        )


def check_processes(case: Case) -> None:
    """Two processes with half a batch each train as one with all of it, unless the method relates images."""
    if case.make().relates_images:
        return
    for stage, distiller in case.staged():
        # BatchNorm is the trainer's task (`train.sync_batchnorm`), so it takes no statistics here.
        distiller.eval()
        targets = case.targets()
        whole = _gradients(deepcopy(distiller), case.batch, targets)
        rows = torch.arange(len(case.batch.image)).chunk(2)
        halves = [_gradients(deepcopy(distiller), _part(case.batch, part), _part_of(targets, part)) for part in rows]
        for name, gradient in whole.items():
            zero = torch.zeros_like(gradient)
            mean = (halves[0].get(name, zero) + halves[1].get(name, zero)) / 2
            case.require(
                torch.allclose(mean, gradient, rtol=1e-3, atol=1e-6 + 1e-4 * gradient.abs().max().item()),
                f"in stage '{stage.name}' the gradient of {name} on a batch is not the mean of those on its halves; "
                "average over images, or declare relates_images = True",
            )


def check_compile(case: Case) -> None:
    """Each stage compiles into one graph that gives the same terms and gradients, unless the method cannot compile."""
    if not case.method.compiles:
        return
    for stage, distiller in case.staged():
        outputs = distiller.student(case.batch.image)
        eager = method_of(distiller)
        compiled = deepcopy(eager)
        torch.compiler.reset()
        try:
            # Without the student, whose graph is not the method's affair and takes long to compile.
            found = _terms_and_gradients(
                compiled, torch.compile(compiled, backend="aot_eager", fullgraph=True), case, outputs
            )
        finally:
            torch.compiler.reset()
        expected = _terms_and_gradients(eager, eager, case, outputs)
        for name, tensor in found.items():
            # What a compiled loss does not reach gets a gradient of 0 and not None.
            _close(case, f"{name} in stage '{stage.name}'", tensor, expected.get(name, torch.zeros_like(tensor)))


def _terms_and_gradients(method: Method, call: Callable[..., Terms], case: Case, outputs: Outputs) -> dict[str, Tensor]:
    """The terms of a stage, and the gradients of their sum to the student's outputs and to the method's layers."""
    logits = outputs.logits.detach().requires_grad_()
    features = {name: feature.detach().requires_grad_() for name, feature in outputs.features.items()}
    exits = tuple(said.detach().requires_grad_() for said in outputs.exits)
    torch.manual_seed(0)
    terms = call(Outputs(logits, features, exits), case.targets() or NO_TARGETS, case.batch)
    found = {f"'{name}'": term.detach() for name, term in terms.items()}
    if terms:
        torch.stack(list(terms.values())).sum().backward()
    reached = {"logits": logits.grad, **{name: feature.grad for name, feature in features.items()}}
    reached |= {f"exit {number}": said.grad for number, said in enumerate(exits)}
    reached |= {name: parameter.grad for name, parameter in method.named_parameters()}
    return found | {f"the gradient of {name}": grad for name, grad in reached.items() if grad is not None}


def _close(case: Case, what: str, found: Tensor, expected: Tensor) -> None:
    try:
        assert_close(found, expected, rtol=1e-3, atol=1e-5)
    except AssertionError as error:
        problem = f"{what} differs when compiled; keep Python numbers and branches on data out of forward"
        raise AssertionError(f"{case.name}: {problem}") from error


def _gradients(distiller: Distiller, batch: Batch, targets: Outputs | None) -> dict[str, Tensor]:
    torch.manual_seed(0)
    distiller(batch, targets).loss.backward()
    return gradients(distiller)


def _part(batch: Batch, rows: Tensor) -> Batch:
    assert batch.label is not None
    return Batch(batch.image[rows], batch.label[rows], batch.index[rows], batch.view[rows])


def _part_of(targets: Outputs | None, rows: Tensor) -> Outputs | None:
    if targets is None:
        return None
    return Outputs(targets.logits[rows], {name: feature[rows] for name, feature in targets.features.items()})

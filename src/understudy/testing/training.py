"""What a method does to a training: to the teacher, a resumed run, a baseline, the exported student."""

from copy import deepcopy
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from understudy.classifier import Classifier
from understudy.distiller import Distiller
from understudy.errors import UserError
from understudy.methods.base import Method
from understudy.models import load_model, save_model
from understudy.taps import evaluating
from understudy.testing.case import Case, as_classifier, differing, method_of, own_terms, state_of
from understudy.testing.paperwork import weight_settings

_STEPS = 4
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")


def check_teacher(case: Case) -> None:
    """Not a bit of the teacher changes, even inside a parent that is set to training."""
    before = state_of(case.teacher)
    for stage, distiller in case.staged():
        nn.ModuleList([distiller, case.teacher]).train()
        _train(case, distiller, _optimizer(distiller), range(2))
        changed = differing(before, state_of(case.teacher))
        case.require(
            not changed and all(p.grad is None for p in case.teacher.parameters()),
            f"stage '{stage.name}' changes the teacher ({', '.join(changed) or 'gradients'}); copy what it needs of it",
        )


def check_resume(case: Case) -> None:
    """A run that is stopped in each stage and goes on in a new process ends as one that was never stopped."""
    for stage, straight in case.staged():
        optimizer = _optimizer(straight)
        _train(case, straight, optimizer, range(_STEPS // 2))
        saved = BytesIO()
        torch.save([straight.state_dict(), optimizer.state_dict(), torch.get_rng_state()], saved)
        _train(case, straight, optimizer, range(_STEPS // 2, _STEPS))
        # Another seed: what was drawn at random has to come from the checkpoint.
        resumed = case.at(stage, seed=1)
        optimizer = _optimizer(resumed)
        saved.seek(0)
        state, moments, random = torch.load(saved, weights_only=True)
        resumed.load_state_dict(state)
        optimizer.load_state_dict(moments)
        torch.set_rng_state(random)
        _train(case, resumed, optimizer, range(_STEPS // 2, _STEPS))
        lost = differing(state_of(straight), state_of(resumed))
        case.require(
            not lost,
            f"a resumed run differs in stage '{stage.name}' ({', '.join(lost[:3])}); keep what changes in buffers, "
            "and let set_epoch set the rest",
        )


def check_weight_zero(case: Case) -> None:
    """With all weights 0 the student is bit for bit that of plain training."""
    weights = dict.fromkeys(weight_settings(case), 0.0)
    off = case.build(case.make(**weights))
    off.begin(off.stages()[-1])
    fixed = [name for name, term in own_terms(case.step(off)).items() if term != 0]
    case.require(not fixed, f"no setting gives the weight of {', '.join(fixed)}; add one annotated with Weight")
    off = case.build(case.make(**weights))
    off.begin(off.stages()[-1])
    plain = Distiller(case.build().student.model, label_weight=1.0).train()
    for distiller in (off, plain):
        _train(case, distiller, _optimizer(distiller), range(2))
    changed = differing(state_of(plain.student.model), state_of(off.student.model))
    case.require(
        not changed,
        f"at weight 0 it still changes the student's {', '.join(changed[:3])}; terms must be finite, and the student "
        "must run once a step",
    )


def check_deploy(case: Case) -> None:
    """The exported student has no hooks and no adapter, and gives the logits that it was trained with."""
    distiller = case.build()
    distiller.begin(distiller.stages()[-1])
    _train(case, distiller, _optimizer(distiller), range(2))
    with evaluating(distiller), torch.no_grad():
        expected = distiller.student(case.batch.image).logits
        student = distiller.deploy().eval()
        found = student(case.batch.image)
    hooked = [name for name, module in student.named_modules() if any(vars(module)[kind] for kind in _HOOKS)]
    case.require(
        not hooked, f"the exported student has hooks on {', '.join(hooked) or 'itself'}; read features by taps()"
    )
    if type(method_of(distiller)).deploy is Method.deploy:
        case.require(torch.equal(found, expected), "the exported student gives other logits than the trained one")
        added = sorted(student.state_dict().keys() ^ case.student.state_dict().keys())
        case.require(
            not added,
            f"the exported student has other parameters ({', '.join(added[:3])}); make adapters in setup() as parts of "
            "the method, never of the student",
        )
    else:
        case.require(found.shape == expected.shape, f"the exported student gives logits of shape {tuple(found.shape)}")


def check_saved(case: Case) -> None:
    """The exported student can be saved, and gives bit for bit the same logits when it is loaded again."""
    distiller = case.build(student=as_classifier(deepcopy(case.student)))
    distiller.begin(distiller.stages()[-1])
    _train(case, distiller, _optimizer(distiller), range(1))
    student = distiller.deploy().eval()
    if not isinstance(student, Classifier):
        raise AssertionError(f"{case.name}: deploy gives a {type(student).__name__}; change the network of the student")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "student.safetensors"
        save_model(student, path)
        try:
            loaded = load_model(path, network=deepcopy(case.student))
        except UserError as error:
            problem = "register what deploy does by register_change, and note it by note_change"
            raise AssertionError(f"{case.name}: the saved student cannot be loaded ({error}); {problem}") from error
    with torch.no_grad():
        equal = torch.equal(loaded(case.batch.image), student(case.batch.image))
    case.require(equal, "the saved student gives other logits when it is loaded again; keep its state in its tensors")


def _optimizer(distiller: Distiller) -> Optimizer:
    return SGD([p for p in distiller.parameters() if p.requires_grad], lr=0.01, momentum=0.9)


def _train(case: Case, distiller: Distiller, optimizer: Optimizer, steps: range) -> None:
    """As the trainer does: weights move before each step."""
    distiller.train()
    for step in steps:
        distiller.set_epoch(step / _STEPS, 1)
        optimizer.zero_grad()
        distiller(case.batch, case.targets()).loss.backward()
        optimizer.step()

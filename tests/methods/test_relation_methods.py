from pathlib import Path

import pytest
import torch
from child_processes import run_pair
from torch import Tensor, nn
from torch.testing import assert_close
from toys import random_batch, small_network, state

from understudy.distiller import Distiller
from understudy.engine.distributed import join, leave
from understudy.losses.relation import cc_loss, ickd_loss, pkt_loss, sp_loss
from understudy.losses.rkd import rkd_angle_loss, rkd_distance_loss
from understudy.methods.base import METHODS, Method
from understudy.methods.cc import CC
from understudy.methods.crd import CRD
from understudy.methods.ickd import ICKD
from understudy.methods.mimic import Mimic
from understudy.methods.pkt import PKT
from understudy.methods.rkd import RKD
from understudy.methods.sp import SP
from understudy.teachers import Teacher
from understudy.types import Batch

MAPS, VECTORS = ("relu", "relu"), ("fc:input", "fc:input")


def methods() -> list[Method]:
    return [SP(pairs=[MAPS]), PKT(pairs=[VECTORS]), CC(pairs=[VECTORS]), RKD(pairs=[VECTORS]), ICKD(pairs=[MAPS])]


def made(*chosen: Method, batch: Batch, seed: int = 0) -> tuple[Distiller, Teacher]:
    teacher = Teacher(small_network(width=6, seed=1), taps=[tap for method in chosen for tap in method.taps().teacher])
    distiller = Distiller(small_network(width=4, seed=2), chosen)
    torch.manual_seed(seed)
    distiller.setup(batch, teacher)
    return distiller.eval(), teacher


def test_names_weights_and_layers_by_default() -> None:
    expected = {
        "sp": ({"sp": 3000.0}, "last"),
        "pkt": ({"pkt": 30000.0}, "pooled"),
        "cc": ({"cc": 100.0}, "pooled"),
        "rkd": ({"rkd_distance": 25.0, "rkd_angle": 50.0}, "pooled"),
        "ickd-c": ({"ickd_c": 2.5}, "last"),
        "crd": ({"crd": pytest.approx(0.8)}, "pooled"),
    }
    for name, (weights, where) in expected.items():
        method = METHODS.get(name)()
        assert {term: method.weight(term).item() for term in method.terms} == weights
        assert method.where == where
        assert method.label_weight == 1


def test_terms_are_the_losses_of_the_tapped_features() -> None:
    batch = random_batch()
    distiller, teacher = made(*methods(), batch=batch)
    targets = teacher(batch)
    _, terms, outputs = distiller(batch, targets)
    maps, vectors = ((outputs.features[tap], targets.features[tap]) for tap in ("relu", "fc:input"))
    assert maps[0].shape == (6, 4, 8, 8)
    assert vectors[1].shape == (6, 24)
    (ickd,) = (method for method in distiller.methods if isinstance(method, ICKD))
    expected = {
        "sp": sp_loss(*maps),
        "pkt": pkt_loss(*vectors),
        "cc": cc_loss(*vectors),
        "rkd_distance": rkd_distance_loss(*vectors),
        "rkd_angle": rkd_angle_loss(*vectors),
        "ickd_c": ickd_loss(ickd.adapters[0](maps[0]), maps[1]),
    }
    for name, value in expected.items():
        assert_close(terms[name].raw, value)
        assert value > 0


def test_gradients_reach_student_and_adapters_but_not_the_teacher() -> None:
    batch = random_batch()
    for method in methods():
        distiller, teacher = made(method, batch=batch)
        before = state(teacher)
        step = distiller(batch, teacher(batch))
        torch.stack([step.terms[name].weighted for name in method.terms]).sum().backward()
        student = distiller.student.model
        assert isinstance(student, nn.Sequential)
        assert student.conv.weight.grad is not None
        assert student.conv.weight.grad.abs().sum() > 0
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
        assert all(p.grad is None for p in teacher.parameters())
        assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_adapters_are_trained_and_left_behind() -> None:
    distiller, _ = made(ICKD(pairs=[MAPS]), batch=random_batch())
    names = [name for name, _ in distiller.named_parameters() if name.startswith("methods.")]
    assert names == ["methods.0.adapters.0.0.weight", "methods.0.adapters.0.1.weight", "methods.0.adapters.0.1.bias"]
    assert set(distiller.deploy().state_dict()) == set(small_network().state_dict())


def test_pairs_are_summed_and_maps_are_pooled() -> None:
    batch = random_batch()
    distiller, teacher = made(PKT(pairs=[MAPS, VECTORS]), batch=batch)
    targets = teacher(batch)
    _, terms, outputs = distiller(batch, targets)
    ours, theirs = outputs.features, targets.features
    pooled = pkt_loss(ours["relu"].mean((2, 3)), theirs["relu"].mean((2, 3)))
    assert_close(terms["pkt"].raw, pooled + pkt_loss(ours["fc:input"], theirs["fc:input"]))
    assert pooled > 0


def test_a_vector_has_no_channels_to_correlate() -> None:
    with pytest.raises(ValueError, match="maps"):
        made(ICKD(pairs=[VECTORS]), batch=random_batch())


def test_mimicry_relates_images_by_their_similarity_only() -> None:
    words = ("attention", "feature", "gram", "similarity")
    assert [Mimic(what=what).relates_images for what in words] == [False, False, False, True]


def gradients_of(distiller: Distiller) -> dict[str, Tensor]:
    return {name: p.grad for name, p in distiller.named_parameters() if p.grad is not None}


def contrast() -> tuple[Distiller, Teacher, Batch]:
    batch = random_batch(4)._replace(label=torch.tensor([0, 1, 2, 0]))
    mimic = Mimic(pairs=[MAPS], what="similarity")
    chosen = [*methods(), mimic, CRD(pairs=[VECTORS], num_negatives=5, width=3)]
    teacher = Teacher(small_network(width=6, seed=1), taps=[tap for method in chosen for tap in method.taps().teacher])
    distiller = Distiller(small_network(width=4, seed=2), chosen)
    torch.manual_seed(0)
    distiller.setup(batch, teacher, labels=batch.label)
    distiller.eval()
    distiller.methods[-1].training = True
    return distiller, teacher, batch


def steps(distiller: Distiller, teacher: Teacher, batch: Batch) -> dict[str, Tensor]:
    """Two steps, the second of which contrasts with what the first remembered; the loss and gradients of both."""
    # What a process draws of its own must not matter.
    torch.manual_seed(batch.index.sum().item())
    losses = [distiller(batch, teacher(batch)).loss for _ in range(2)]
    torch.stack(losses).sum().backward()
    return {"losses": torch.stack(losses).detach(), **gradients_of(distiller)}


def half_of_a_step(out: Path) -> None:
    world = join()
    distiller, teacher, batch = contrast()
    # Not as they lie in the whole batch.
    rows = slice(world.rank, None, world.size)
    assert batch.label is not None
    part = Batch(batch.image[rows], batch.label[rows], batch.index[rows], batch.view[rows])
    found = steps(distiller, teacher, part)
    torch.save((found, distiller.methods[-1].state_dict()), out / f"{world.rank}.pt")
    leave()


def test_two_processes_relate_the_whole_batch(tmp_path: Path) -> None:
    run_pair(half_of_a_step, tmp_path)
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    distiller, teacher, batch = contrast()
    whole = steps(distiller, teacher, batch)
    assert all(found.keys() == whole.keys() for found, _ in halves)
    for name, expected in whole.items():
        mean = sum(found[name] for found, _ in halves) / 2
        assert_close(mean, expected, rtol=1e-4, atol=1e-5 * max(1.0, expected.abs().max().item()))
    for name, memory in halves[1][1].items():
        assert torch.equal(memory, halves[0][1][name]), name
    for _, memory in halves:
        for name, expected in distiller.methods[-1].state_dict().items():
            assert_close(memory[name], expected, rtol=1e-5, atol=1e-6)

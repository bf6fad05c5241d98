from pathlib import Path

import pytest
import torch
from child_processes import run_pair
from torch import Tensor, nn

from understudy.engine.distributed import join, leave
from understudy.engine.sync_batchnorm import synchronize_batchnorm
from understudy.errors import UserError

# `last` has the channels innermost, `plain` no weights; of `row` each process has one number for a channel.
SHAPES = {"1d": (7, 3), "row": (2, 3), "2d": (7, 3, 4, 5), "last": (7, 3, 4, 5), "plain": (7, 3, 4, 5)}


def layer(kind: str, momentum: float | None) -> nn.Module:
    torch.manual_seed(0)
    made = (nn.BatchNorm1d if kind in ("1d", "row") else nn.BatchNorm2d)(3, momentum=momentum, affine=kind != "plain")
    if kind == "plain":
        return made
    nn.init.uniform_(made.weight)
    nn.init.uniform_(made.bias)
    return made


def two_batches(kind: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(SHAPES[kind], generator=generator) * 2 + 3 for _ in range(2)]
    return [batch.to(memory_format=torch.channels_last) for batch in batches] if kind == "last" else batches


def results(module: nn.Module, batches: list[Tensor], factors: list[Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for number, (batch, factor) in enumerate(zip(batches, factors, strict=True)):
        image = batch.clone().requires_grad_()
        output = module(image)
        (output.sin() * factor).sum().backward()
        assert image.grad is not None
        found |= {f"output{number}": output.detach(), f"gradient{number}": image.grad}
    found |= {f"d{name}": parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    return found | {name: value.clone() for name, value in module.named_buffers()}


def part(kind: str, momentum: float | None, twice: bool, out: Path) -> None:
    world = join()
    module = layer(kind, momentum)
    synchronize_batchnorm(module, twice=twice)
    # Shares of unequal size, 4 and 3 rows, unless there are two.
    batches, factors = ([b.tensor_split(2)[world.rank] for b in two_batches(kind)] for _ in range(2))
    torch.save(results(module, batches, factors), out / f"{world.rank}.pt")
    leave()


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(("kind", "momentum"), [("1d", 0.1), ("row", 0.1), ("2d", None), ("last", 0.1), ("plain", 0.1)])
def test_two_processes_normalise_as_one_with_the_whole_batch(
    kind: str, momentum: float | None, twice: bool, tmp_path: Path
) -> None:
    run_pair(part, kind, momentum, twice, tmp_path)
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    whole = results(layer(kind, momentum), two_batches(kind), two_batches(kind))
    for name, expected in whole.items():
        first, second = (half[name] for half in halves)
        if name.startswith(("output", "gradient")):
            found = torch.cat([first, second])
        elif name.startswith("d"):
            # Of its own share; DDP averages the parameters' gradients.
            found = first + second
        else:
            assert torch.equal(first, second)
            found = first
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_keys_and_hooks_stay_and_alone_nothing_changes() -> None:
    module, reference = (nn.Sequential(nn.Conv2d(1, 3, 3), layer("2d", 0.1)) for _ in range(2))
    reference.load_state_dict(module.state_dict())
    keys = list(module.state_dict())
    calls: list[object] = []
    module[1].register_forward_hook(lambda *arguments: calls.append(arguments))
    synchronize_batchnorm(module)
    assert list(module.state_dict()) == keys
    image = torch.randn(2, 1, 5, 5)
    assert torch.equal(module(image), reference(image))
    assert len(calls) == 1


def test_a_later_stage_synchronises_again() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    synchronize_batchnorm(module)
    kind = type(module[1])
    synchronize_batchnorm(module)
    assert type(module[1]) is kind


def test_an_unknown_batchnorm_is_refused() -> None:
    class Other(nn.BatchNorm2d):
        pass

    with pytest.raises(UserError, match=r"'Other'.*train\.sync_batchnorm=false"):
        synchronize_batchnorm(nn.Sequential(Other(3)))


def test_a_gradient_of_a_gradient_needs_the_slower_form() -> None:
    """What the fused form cannot do must not happen in silence."""
    from understudy.engine.sync_batchnorm import _Normalize

    image = torch.randn(4, 3, 2, 2, requires_grad=True)
    weight, bias = torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    normal, *_ = _Normalize.apply(image, weight, bias, 1e-5)
    (gradient,) = torch.autograd.grad(normal.sin().sum(), image, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_alone_the_fused_form_equals_torch(dtype: torch.dtype) -> None:
    from understudy.engine.sync_batchnorm import _Normalize

    generator = torch.Generator().manual_seed(0)
    image = (torch.randn(8, 3, 4, 4, generator=generator) * 3 + 10).to(dtype)
    kept = torch.float64 if dtype == torch.float64 else torch.float32
    outcome = []
    for fused in (True, False):
        x = image.clone().requires_grad_()
        weight, bias = (torch.tensor([0.5, 1.0, 2.0], dtype=kept).requires_grad_() for _ in range(2))
        if fused:
            normal = _Normalize.apply(x, weight, bias, 1e-5)[0]
        else:
            normal = nn.functional.batch_norm(x, None, None, weight, bias, training=True)
        (normal.float() ** 3).sum().backward()
        outcome.append((normal.detach(), x.grad, weight.grad, bias.grad))
    for found, expected in zip(*outcome, strict=True):
        assert found is not None
        tolerance = 1e-6 if dtype == torch.float64 else 0.02
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * scale)

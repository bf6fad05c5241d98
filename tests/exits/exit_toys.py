"""Exits without a network."""

import torch

from understudy.exits.logits import ExitLogits


def random_exits(
    num: int, num_exits: int = 2, num_classes: int = 4, *, seed: int = 0, ties: bool = False
) -> ExitLogits:
    """Later exits are right more often; `num_exits` early ones and the main one."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num,), generator=generator)
    logits = torch.randn(num_exits + 1, num, num_classes, generator=generator)
    logits[:, torch.arange(num), labels] += torch.linspace(0.5, 2, num_exits + 1)[:, None]
    logits *= 2
    trunk = torch.linspace(1, 4, num_exits + 1, dtype=torch.float64)
    heads = torch.linspace(0.1, 0.3, num_exits, dtype=torch.float64)
    macs = trunk + torch.cat([heads, heads.new_zeros(1)]).cumsum(0)
    return ExitLogits(logits.round() if ties else logits, labels, macs, heads)

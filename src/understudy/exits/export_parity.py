"""Whether exported exits say what the network says."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.exits.export_nested import IMAGE, THRESHOLDS
from understudy.exits.policy import ALWAYS, NEVER, Policy
from understudy.exits.runtime import predict, predict_all
from understudy.exits.staged import Staged

TOLERANCE = 1e-3
"""Largest difference allowed, as a share of the largest logit; float32 differs by about 1e-6."""

_NUM_NESTED = 8


class Parity(NamedTuple):
    """A comparison with the network in torch.

    Attributes:
        images: Images that were compared.
        same_exit: Those of them that take the same exit.
        difference: Largest difference of a logit of any exit, as a share of the largest logit.
    """

    images: int
    same_exit: int
    difference: float


def check_parity(staged: Staged, images: Tensor, policy: Policy, folder: Path, *, nested: Path) -> Parity:
    """Compare every exit, and who leaves where.

    Args:
        staged: The network, on the CPU.
        images: uint8 (images, channels, height, width).
        policy: When an image may leave.
        folder: With the files for `understudy.exits.export_runtime`.
        nested: The one graph; it is asked about the first images alone, one by one.

    Raises:
        UserError: A logit differs by more than `TOLERANCE`, or an image that is not within that of a threshold takes
            another exit.
    """
    from understudy.exits.export_runtime import EarlyExits

    parts, whole = EarlyExits(folder, num_threads=1), _Nested(nested)
    every = predict_all(staged.model, images)
    largest = every.abs().max().item()
    difference = 0.0
    for number in range(len(every)):
        only = [ALWAYS if place == number else NEVER for place in range(len(policy.thresholds))]
        for found, exits in (
            tuple(map(torch.from_numpy, parts(images.numpy(), thresholds=only)[:2])),
            whole(images[:_NUM_NESTED], only),
        ):
            apart = (found - every[number, : len(found)]).abs().max().item() / largest
            difference = max(difference, apart)
            if not apart <= TOLERANCE or not bool((exits == number).all()):
                raise UserError(f"what was exported says otherwise at exit {number + 1}: logits differ by {apart:.1e}")
    same = _same_exits(staged, images, policy, torch.from_numpy(parts(images.numpy()).exits))
    _same_exits(staged, images[:_NUM_NESTED], policy, whole(images[:_NUM_NESTED], policy.thresholds)[1])
    return Parity(len(images), same, difference)


def _same_exits(staged: Staged, images: Tensor, policy: Policy, found: Tensor) -> int:
    """How many images take the same exit; only those whose doubt lies on a threshold may take another."""
    doubts = policy.doubts(predict_all(staged.model, images))
    thresholds = torch.tensor(policy.thresholds)[:, None]
    near = ((doubts - thresholds).abs() <= TOLERANCE * (1 + doubts.abs())).any(0)
    same = found == predict(staged, images, policy).exit
    if not bool((same | near).all()):
        raise UserError(f"what was exported lets {int((~same & ~near).sum())} of {len(same)} images leave elsewhere")
    return int(same.sum())


class _Nested:
    """The one graph, image by image."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

    def __call__(self, images: Tensor, thresholds: Sequence[float]) -> tuple[Tensor, Tensor]:
        limits = np.array(thresholds, np.float32)
        rows = [self.session.run(None, {IMAGE: image[None].numpy(), THRESHOLDS: limits}) for image in images]
        logits, exits = zip(*rows, strict=True)
        return torch.from_numpy(np.concatenate(logits)), torch.from_numpy(np.concatenate(exits))

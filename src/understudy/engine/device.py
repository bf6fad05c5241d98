"""Where and how precisely to compute."""

import os
import random

import numpy as np
import torch
from torch import nn

from understudy.errors import UserError


def choose_device(name: str = "auto", local_rank: int = 0) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; several processes on one machine take a GPU each.

    Raises:
        UserError: The device is unknown or this machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{local_rank}" if name == "cuda" else name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device={name} is not available here: use device=auto or device=cpu") from error
    return device


def choose_precision(name: str) -> torch.dtype:
    """The dtype of the forward passes: `auto` is float32, until half precision is shown to cost no accuracy."""
    return {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def compile_module(module: nn.Module, device: torch.device) -> None:
    """Compile a module in place at its next call; its type, its names and its copies stay what they are.

    Args:
        module: What is called with batches of one shape.
        device: On a GPU the launches are recorded as CUDA graphs.
    """
    module.compile(dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)


def seed_everything(seed: int, *, deterministic: bool = True) -> None:
    """Seed Python, NumPy and torch, and choose repeatable algorithms."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        # cuBLAS repeats itself only with a fixed workspace; the variable is read when CUDA starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Filling every new tensor costs time and only helps to find reads of memory nobody wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    # Not use_deterministic_algorithms: it loads the compiler, which takes seconds.
    torch.set_deterministic_debug_mode("warn" if deterministic else "default")

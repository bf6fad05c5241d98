"""Batches on the device, the same however they are made: in memory or streamed, on one rank or many."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from understudy.data.augment import Augmentation, make_augmentation
from understudy.data.base import Split
from understudy.data.resident import Progress, ResidentLoader, make_resident
from understudy.data.schedule import (
    EvaluationSchedule,
    MixedSchedule,
    Schedule,
    TrainSchedule,
    check_batch_size,
    fresh,
    repeated,
    shuffled,
    weighted,
)
from understudy.data.streaming import StreamingLoader
from understudy.data.unlabelled import JoinedSplit, PartlyLabelled
from understudy.errors import UserError

MAX_RESIDENT_SIZE = 64
MAX_RESIDENT_BYTES = 2 * 10**9
SHARED_SEED = 0

Loader = ResidentLoader | StreamingLoader | PartlyLabelled
"""`len(loader)` steps per epoch; `loader.batches(epoch, start)` yields `Batch`es from step `start` on."""


def make_loader(
    split: Split,
    *,
    batch_size: int,
    size: int,
    channels: int | None = None,
    augment: str | Mapping[str, Any] | Augmentation = "none",
    seed: int = 0,
    train: bool,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    views: int | None = None,
    resident: bool | None = None,
    progress: Progress | None = None,
    unlabelled: Split | None = None,
    num_unlabelled: int = 0,
    weights: Tensor | None = None,
) -> Loader:
    """Serve a split in batches.

    Args:
        split: The images.
        batch_size: Images in a batch of all ranks together.
        size: Height and width of the images in a batch; images that have it stay as they are.
        channels: 1 or 3; None takes what the images have, 3 if they differ.
        augment: As `make_augmentation` takes it, only used in training.
        seed: Chooses order and augmentation.
        train: Shuffled full batches with augmentation; otherwise every image once, in order, as it is.
        device: Where the batches are.
        rank: Which process this is.
        world: How many processes share every batch.
        workers: Processes that decode while streaming; 0 decodes in this one.
        views: Number of different augmentations of an image, the same ones for every seed, which then chooses where
            each image begins; None makes a new one in each epoch, by the seed.
        resident: Whether the decoded images are kept on the device. None does so up to 64 pixels and 2 GB, unless
            the policy cuts its crops out of larger images.
        progress: Called with the images decoded so far and in total while they are made resident.
        unlabelled: Images without labels that join the training batches, behind the labelled ones.
        num_unlabelled: How many of them are in a batch of all ranks together, besides `batch_size`.
        weights: How often each image is drawn in training (n,), see `understudy.data.sampling`; None shows every image
            once an epoch.

    Raises:
        UserError: The batch size cannot be divided, the policy is unknown, or an image cannot be read.
    """
    check_batch_size(len(split), batch_size, world=world, train=train)
    if views is not None and views < 1:
        raise UserError(f"views {views} must be at least 1: leave it out to give every epoch its own")
    schedule: Schedule = EvaluationSchedule(len(split), batch_size, rank, world)
    if train:
        order = shuffled(len(split), seed) if weights is None else weighted(weights, seed)
        shown = fresh if views is None else repeated(views, seed)
        schedule = TrainSchedule(len(split), batch_size, order, rank, world, shown)
        if unlabelled is not None:
            _check_unlabelled(num_unlabelled, world)
            schedule = MixedSchedule(schedule, len(unlabelled), num_unlabelled, seed)
            split = JoinedSplit(split, unlabelled)
    policy = make_augmentation(augment if train else "none")
    seed = augmentation_seed(seed, views)
    channels = channels or max((image.shape[0] for image in split.sample()), default=3)
    num_bytes = len(split) * channels * size**2
    if resident is None:
        resident = not policy.frames_itself and size <= MAX_RESIDENT_SIZE and num_bytes <= MAX_RESIDENT_BYTES
    if resident:
        pixels = make_resident(split, size=size, channels=channels, progress=progress)
        loader = ResidentLoader(pixels, split.labels, schedule=schedule, policy=policy, seed=seed, device=device)
    else:
        loader = StreamingLoader(
            split, schedule, size=size, channels=channels, policy=policy, seed=seed, device=device, workers=workers
        )
    return PartlyLabelled(loader, num_unlabelled // world) if isinstance(schedule, MixedSchedule) else loader


def augmentation_seed(seed: int, views: int | None) -> int:
    """The seed of the augmentations: views that repeat are shared by all runs, and so are a teacher's answers to them.

    Args:
        seed: Of the run.
        views: As for `make_loader`.
    """
    return seed if views is None else SHARED_SEED


def _check_unlabelled(num: int, world: int) -> None:
    if num < 1 or num % world:
        raise UserError(f"num_unlabelled {num} cannot be divided among {world} processes: take a positive multiple")

"""Defaults by data set, so that a newcomer gets a good model without tuning; see `docs/datasets.md`."""

from typing import Any

Tree = dict[str, Any]

# The protocol of the CIFAR-100 tables (RepDistiller), with 60 epochs of one cycle in place of 240 in steps.
_CIFAR: Tree = {
    "data": {"augment": "crop-flip"},
    "train": {
        "epochs": 60,
        "batch_size": 128,
        "optimizer": {"name": "sgd", "lr": 0.1, "nesterov": True},
        "schedule": {"name": "onecycle"},
    },
}
# Grey clothes and digits: shifted, never mirrored, since a mirrored 2 is no digit.
_GREY: Tree = {
    "data": {"augment": "shift"},
    "train": {"epochs": 20, "batch_size": 128, "optimizer": {"name": "adamw", "lr": 3e-3}},
}
_DIGITS: Tree = {
    "data": {"augment": "none"},
    "train": {"epochs": 30, "batch_size": 64, "optimizer": {"name": "adamw", "lr": 0.01}},
}
# Photographs of the user's own, perhaps few of them, from scratch or from pretrained weights.
_PHOTOGRAPHS: Tree = {
    "data": {"augment": "auto"},
    "train": {"epochs": 30, "batch_size": 64, "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05}},
}
_IMAGENET: Tree = {
    "data": {"augment": "resized-crop"},
    "train": {
        "epochs": 100,
        "batch_size": 256,
        "optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 1e-4},
        "schedule": {"name": "step", "step_size": 30},
    },
}
_IMAGENETTE: Tree = {
    "data": {"augment": "resized-crop"},
    "train": {"epochs": 40, "batch_size": 64, "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05}},
}

RECIPES: dict[str, Tree] = {
    "digits": _DIGITS,
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "mnist": _GREY,
    "fashion-mnist": _GREY,
    "imagenette": _IMAGENETTE,
    "imagewoof": _IMAGENETTE,
    "imagenet": _IMAGENET,
}


def recipe_for(dataset: str) -> Tree:
    """The defaults that go with a data set; those for photographs where it has none of its own."""
    return RECIPES.get(dataset, _PHOTOGRAPHS)

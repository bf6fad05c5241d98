"""How images are divided into training, validation and test splits.

The split that selects is never the split that is reported: where a data set has only one held-out split it becomes
the test split, and the validation split is a stratified share of the training split.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from understudy.data.base import Split, Splits
from understudy.data.random import derive
from understudy.errors import UserError

VAL_NAMES = ("val", "valid", "validation")
WHOLE = "all"


def stratified(labels: Tensor, shares: Sequence[float], *, seed: int) -> list[Tensor]:
    """Divide indices at random so that every part holds the same share of every class.

    A class with at least as many images as there are parts is in each part of non-zero share.

    Args:
        labels: Class ids (n,), int64.
        shares: Share of every part but the first, which takes the rest.
        seed: Chooses the images; the images of a class do not depend on the other classes.

    Returns:
        Sorted indices of each part, the rest first.

    Raises:
        UserError: The shares are negative or leave nothing for the rest.
    """
    if min(shares) < 0 or sum(shares) >= 1:
        raise UserError(f"shares of validation and test of {list(shares)} must be at least 0 and together below 1")
    parts: list[list[Tensor]] = [[] for _ in range(len(shares) + 1)]
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        generator = torch.Generator().manual_seed(derive(seed, label))
        members = members[torch.randperm(len(members), generator=generator)]
        for part, chosen in zip(parts, members.split(_sizes(len(members), shares)), strict=True):
            part.append(chosen)
    return [torch.cat(part).sort().values for part in parts]


def arrange(found: Mapping[str, Split], *, validation: float, test: float, seed: int) -> Splits:
    """Make training, validation and test splits out of what a source has.

    Args:
        found: Splits by name: `all`, or `train` with `val` (also `valid`, `validation`) or `test` or both.
        validation: Share of the training images that become the validation split if there is none.
        test: Share of all images that become the test split if there is only `all`.
        seed: Chooses the images of the shares.

    Raises:
        UserError: There are other splits than these, two for validation, or a share is out of range.
    """
    if len(twice := sorted(found.keys() & set(VAL_NAMES))) > 1:
        raise UserError(f"{' and '.join(twice)} both name the validation split: keep one of them")
    named = {"val" if name in VAL_NAMES else name: split for name, split in found.items()}
    if named.keys() == {"train", "val", "test"}:
        return Splits(named["train"], named["val"], named["test"], ())
    if named.keys() == {WHOLE}:
        whole = named[WHOLE]
        rest, val, held = (whole.subset(part) for part in stratified(whole.labels, (validation, test), seed=seed))
        return Splits(rest, val, held, (f"validation ({validation:g}) and test ({test:g}) are {_kind(seed)} shares",))
    if "train" in named and len(named) == 2 and named.keys() <= {"train", "val", "test"}:
        (other,) = named.keys() - {"train"}
        whole = named["train"]
        rest, val = (whole.subset(part) for part in stratified(whole.labels, (validation,), seed=seed))
        notes = (f"validation is a {_kind(seed)} share ({validation:g}) of the training split",)
        if other == "val":
            notes = ("the split called val is the test split", *notes)
        return Splits(rest, val, named[other], notes)
    raise UserError(f"the splits are {sorted(found)}: expected train with val or test or both, or one split alone")


def _kind(seed: int) -> str:
    return f"stratified (split_seed {seed})"


def _sizes(num: int, shares: Sequence[float]) -> list[int]:
    least = 1 if num > len(shares) else 0
    sizes = [max(least, round(share * num)) if share else 0 for share in shares]
    # Something to learn from is left even of a tiny class.
    while sum(sizes) > num - 1:
        sizes[sizes.index(max(sizes))] -= 1
    return [num - sum(sizes), *sizes]

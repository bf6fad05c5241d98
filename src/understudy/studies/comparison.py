"""How an arm of a study compares with its baseline, paired by seed and fold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from understudy.evaluation.statistics import (
    PairedDifference,
    holm,
    image_test,
    paired_difference,
    pairs_needed,
    sign_test,
)
from understudy.studies.folds import fold_means, pseudovalues
from understudy.studies.records import Record
from understudy.studies.settings import Arm, Study

Comparison = dict[str, Any]

METRIC = "accuracy"


def compare_arms(study: Study, by_arm: Mapping[str, Sequence[Record]]) -> list[Comparison]:
    """Each arm against its baseline, as far as both have finished runs of the same seed and fold.

    Args:
        study: The study.
        by_arm: The finished runs of each arm by its name.
    """
    made = [_compare(arm, by_arm[arm.name], by_arm[arm.against], study.folds) for arm in study.arms if arm.against]
    found = [each for each in made if each is not None]
    # One whose p-value is not known counts as a comparison all the same.
    known = [1.0 if each["p_t"] is None else each["p_t"] for each in found]
    for each, adjusted in zip(found, holm(known), strict=True):
        each["p_holm"] = None if each["p_t"] is None else adjusted
    return found


def _compare(arm: Arm, ours: Sequence[Record], theirs: Sequence[Record], folds: int | None) -> Comparison | None:
    baseline = {record.pair: record for record in theirs}
    pairs = [(record, baseline[record.pair]) for record in ours if record.pair in baseline]
    if not pairs:
        return None
    columns = [{pair[0].pair: pair[place].test[METRIC] for pair in pairs} for place in (0, 1)]
    treated, plain = ([*column.values()] if folds is None else fold_means(column) for column in columns)
    difference = _difference(treated, plain, folds)
    signs = sign_test(treated, plain)
    images = image_test(*(np.stack([pair[place].correct for pair in pairs]) for place in (0, 1)))
    # Folds share images, so that how often one of them wins says less than that of as many seeds.
    of_seeds = folds is None and len(pairs) > 1
    known = of_seeds and difference.p_value is not None
    return {
        "arm": arm.name,
        "against": arm.against,
        "metric": METRIC,
        "mean": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "n": difference.num_pairs,
        "p_t": difference.p_value,
        "p_sign": signs.p_value if of_seeds else None,
        "wins": signs.wins,
        "losses": signs.losses,
        "ties": signs.ties,
        "seeds_needed": pairs_needed(difference.mean, _spread(treated, plain)) if known else None,
        "mcnemar": {"better": images.wins, "worse": images.losses, "p": images.p_value},
    }


def _difference(treated: Sequence[float], plain: Sequence[float], folds: int | None) -> PairedDifference:
    if len(treated) < 2:
        return PairedDifference(treated[0] - plain[0], None, None, None, 1)
    if folds is None:
        return paired_difference(treated, plain)
    return paired_difference(pseudovalues(treated, folds), pseudovalues(plain, folds))


def _spread(treated: Sequence[float], plain: Sequence[float]) -> float:
    return float(np.std(np.subtract(treated, plain), ddof=1))

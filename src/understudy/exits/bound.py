"""How much accuracy a cascade may lose on new images, from the images on which it and the main exit differ.

An image is lost (only the main exit is right), won (only the cascade is right) or neither. The images are taken to be
independent draws from what the model will see; nothing else is assumed, and no number is too small. The test is exact
for three outcomes; how often the two differ is not known, so the worst of all plausible rates counts (Berger and Boos,
P Values Maximized Over a Confidence Set, JASA 1994).
"""

import numpy as np

# This part of the risk pays for the plausible rates.
_PART = 0.1
_NUM_RATES = 17


def drop_p_value(lost: int, won: int, images: int, drop: float, *, level: float = 0.95) -> float:
    """How probable so few losses are if the true drop were at least this large.

    Args:
        lost: Images that only the main exit is right about.
        won: Images that only the cascade is right about.
        images: Number of images of the split.
        drop: Accuracy of the main exit minus that of the cascade, -1..1.
        level: Of the claim that is made when the value is at most 1 - level; the value cannot be below a tenth of that.
    """
    from scipy import stats

    part = _PART * (1 - level)
    largest = _largest_rate(lost + won, images, part)
    if abs(drop) > largest:
        return part if drop > 0 else 1.0
    rate = np.linspace(max(abs(drop), 1e-12), largest, _NUM_RATES)[:, None]
    low, high = stats.binom.ppf(1e-12, images, rate[0, 0]), stats.binom.ppf(1 - 1e-12, images, largest)
    differing = np.arange(int(low), int(high) + 1)
    at_most = np.floor((differing + lost - won) / 2)
    given = stats.binom.cdf(at_most, differing, np.clip((rate + drop) / (2 * rate), 0, 1))
    probability = np.asarray(stats.binom.pmf(differing, images, rate) * given).sum(1).max()
    return float(min(probability + part, 1.0))


def drop_bound(lost: int, won: int, images: int, *, level: float = 0.95) -> float:
    """Upper confidence bound of the drop in accuracy: the smallest drop that is rejected.

    It holds for one cascade that was chosen without these images.

    Args:
        lost: Images that only the main exit is right about.
        won: Images that only the cascade is right about.
        images: Number of images of the split.
        level: Confidence, one-sided.
    """
    low, high = (lost - won) / images, _largest_rate(lost + won, images, _PART * (1 - level))
    while high - low > 1e-6:
        middle = (low + high) / 2
        if drop_p_value(lost, won, images, middle, level=level) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def _largest_rate(differing: int, images: int, risk: float) -> float:
    """Upper bound of Clopper and Pearson for the share of images on which the two differ."""
    from scipy import stats

    return 1.0 if differing == images else float(stats.beta.ppf(1 - risk, differing + 1, images - differing))

"""Early exits from their definitions, image by image in float64 (BranchyNet, ICPR 2016; evaluation of seed 000)."""

import itertools
import math

from reference.calibration import probabilities
from reference.logit import Array


def scores(row: Array) -> dict[str, float]:
    """Doubt about one image; lower is surer."""
    p = sorted(probabilities(row), reverse=True)
    nats = -sum(x * math.log(x) for x in p if x > 0)
    dirichlet = [math.exp(z) + 1 for z in row]
    return {
        "entropy": nats / math.log(2),
        "entropy-nats": nats,
        "max-probability": 1 - p[0],
        "margin": 1 - (p[0] - p[1]),
        "energy": -(max(row) + math.log(sum(math.exp(z - max(row)) for z in row))),
        "evidence": len(row) / sum(dirichlet),
    }


def counts(doubts: list[float], correct: list[bool], threshold: float) -> tuple[int, int]:
    """Right and wrong answers that leave."""
    right = sum(d < threshold and c for d, c in zip(doubts, correct, strict=True))
    wrong = sum(d < threshold and not c for d, c in zip(doubts, correct, strict=True))
    return right, wrong


def gmean(doubts: list[float], correct: list[bool], threshold: float) -> float:
    right, wrong = counts(doubts, correct, threshold)
    negatives = len(correct) - sum(correct)
    false_positives = wrong / negatives if negatives else 0.0
    return math.sqrt(right / sum(correct) * (1 - false_positives)) if sum(correct) else 0.0


def precision_recall_distance(doubts: list[float], correct: list[bool], threshold: float) -> float:
    right, wrong = counts(doubts, correct, threshold)
    return abs(right / (right + wrong) - right / sum(correct)) if right else math.inf


def walk(doubts: list[list[float]], thresholds: list[float]) -> list[int]:
    """Exit that each image takes; `doubts` has a row for each early exit."""
    taken: list[int] = []
    for i in range(len(doubts[0])):
        k = 0
        while k < len(thresholds) and not doubts[k][i] < thresholds[k]:
            k += 1
        taken.append(k)
    return taken


def cost(taken: int, thresholds: list[float], trunk: list[float], heads: list[float]) -> float:
    """Multiply-adds of one image: the trunk up to its exit, and the heads on the way that are not closed.

    `trunk` is cumulative and has an entry for the main exit, whose head belongs to the network.
    """
    met = [heads[k] for k in range(min(taken + 1, len(heads))) if thresholds[k] > -math.inf]
    return trunk[taken] + sum(met)


def chance_of_rejection(images: int, lost: float, won: float, rejects: set[tuple[int, int]]) -> float:
    """Probability that the numbers of lost and won images fall into a set, for given rates of each."""
    total = 0.0
    for a, b in itertools.product(range(images + 1), repeat=2):
        if a + b <= images and (a, b) in rejects:
            ways = math.comb(images, a) * math.comb(images - a, b)
            total += ways * lost**a * won**b * (1 - lost - won) ** (images - a - b)
    return total

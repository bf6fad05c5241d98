"""How good, how expensive, how certain."""

from understudy.evaluation.accuracy import top_accuracy
from understudy.evaluation.cost import Cost, measure_cost
from understudy.evaluation.predictions import Predictions, collect_predictions
from understudy.evaluation.statistics import PairedDifference, paired_difference

__all__ = [
    "Cost",
    "PairedDifference",
    "Predictions",
    "collect_predictions",
    "measure_cost",
    "paired_difference",
    "top_accuracy",
]

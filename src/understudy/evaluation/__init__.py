"""How good, how expensive, how certain."""

from understudy.evaluation.accuracy import top_accuracy
from understudy.evaluation.calibration import Bin, brier_score, calibration_error, mean_entropy, reliability
from understudy.evaluation.cost import Cost, measure_cost
from understudy.evaluation.predictions import Predictions, collect_predictions
from understudy.evaluation.statistics import PairedDifference, paired_difference

__all__ = [
    "Bin",
    "Cost",
    "PairedDifference",
    "Predictions",
    "brier_score",
    "calibration_error",
    "collect_predictions",
    "mean_entropy",
    "measure_cost",
    "paired_difference",
    "reliability",
    "top_accuracy",
]

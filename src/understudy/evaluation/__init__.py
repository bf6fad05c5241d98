"""How good, how sure, how like its teacher, how expensive, how certain."""

from understudy.evaluation.accuracy import scores, top_accuracy
from understudy.evaluation.calibration import (
    Bin,
    adaptive_calibration_error,
    brier_score,
    calibration_error,
    classwise_calibration_error,
    mean_entropy,
    reliability,
)
from understudy.evaluation.cost import Cost, measure_cost
from understudy.evaluation.fidelity import Fidelity, fidelity
from understudy.evaluation.intervals import Interval, score_intervals
from understudy.evaluation.latency import Latency, measure_latency
from understudy.evaluation.memory import peak_memory
from understudy.evaluation.noise_floor import Floor, noise_floors
from understudy.evaluation.per_class import ClassScore, per_class
from understudy.evaluation.predictions import Predictions, collect_predictions
from understudy.evaluation.statistics import (
    Average,
    PairedDifference,
    SignTest,
    average,
    holm,
    image_test,
    paired_difference,
    pairs_needed,
    sign_test,
)
from understudy.evaluation.summary import all_scores, summarise
from understudy.evaluation.temperature import fit_temperature

__all__ = [
    "Average",
    "Bin",
    "ClassScore",
    "Cost",
    "Fidelity",
    "Floor",
    "Interval",
    "Latency",
    "PairedDifference",
    "Predictions",
    "SignTest",
    "adaptive_calibration_error",
    "all_scores",
    "average",
    "brier_score",
    "calibration_error",
    "classwise_calibration_error",
    "collect_predictions",
    "fidelity",
    "fit_temperature",
    "holm",
    "image_test",
    "mean_entropy",
    "measure_cost",
    "measure_latency",
    "noise_floors",
    "paired_difference",
    "pairs_needed",
    "peak_memory",
    "per_class",
    "reliability",
    "score_intervals",
    "scores",
    "sign_test",
    "summarise",
    "top_accuracy",
]

"""Temperature scaling (Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017)."""

import math

from torch.nn.functional import cross_entropy

from understudy.evaluation.predictions import Predictions

# Where every image is right the likelihood grows without end as the temperature falls, and where the logits say nothing
# as it rises.
LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(predictions: Predictions) -> float:
    """The temperature that makes the labels most likely, found within 0.05 to 20.

    The negative log-likelihood of logits divided by T is convex in 1/T, so there is one minimum. No image changes its
    class.

    Args:
        predictions: On images that neither trained the model nor are reported on.
    """
    from scipy.optimize import minimize_scalar

    logits = predictions.logits.double()

    def cost(log_temperature: float) -> float:
        return cross_entropy(logits / math.exp(log_temperature), predictions.labels).item()

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))

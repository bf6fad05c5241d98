"""Early exits: where they stand, how a network is cut there, and how images leave."""

from understudy.exits.attach import add_exits
from understudy.exits.points import choose_points
from understudy.exits.policy import Policy
from understudy.exits.runtime import Prediction, predict, predict_all, run_stages
from understudy.exits.staged import Staged, split_stages

__all__ = [
    "Policy",
    "Prediction",
    "Staged",
    "add_exits",
    "choose_points",
    "predict",
    "predict_all",
    "run_stages",
    "split_stages",
]

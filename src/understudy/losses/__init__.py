"""Losses as pure functions on tensors; no state, no side effects."""

from understudy.losses.logit import kd_loss, logit_mse_loss, soft_cross_entropy

__all__ = ["kd_loss", "logit_mse_loss", "soft_cross_entropy"]

"""Losses as pure functions on tensors; no state, no side effects."""

from understudy.losses.attention import attention_loss, attention_map
from understudy.losses.average import average_logits, average_probabilities
from understudy.losses.boundary import boundary_loss
from understudy.losses.contrastive import contrast_scores, draw_outside, log_normalizer, nce_loss
from understudy.losses.dist import Correlations, correlation_losses
from understudy.losses.dkd import DecoupledKD, decoupled_kd_losses
from understudy.losses.exits import exit_targets, weighted_sum
from understudy.losses.factor import factor_loss
from understudy.losses.fsp import fsp_loss, fsp_matrix
from understudy.losses.hint import hint_loss
from understudy.losses.input_gradient import flip_symmetry_loss, gradient_attention_loss, input_gradient
from understudy.losses.label_smoothing import smoothed_cross_entropy
from understudy.losses.logit import kd_loss, logit_mse_loss, soft_cross_entropy, standardize
from understudy.losses.mimic import mimic_loss
from understudy.losses.multi_level import MultiLevel, multi_level_losses
from understudy.losses.nst import nst_loss
from understudy.losses.partial import measured_margin, normal_margin, partial_l2_loss
from understudy.losses.pyramid import pyramid_loss
from understudy.losses.relation import cc_loss, ickd_loss, pkt_loss, sp_loss
from understudy.losses.rkd import rkd_angle_loss, rkd_distance_loss
from understudy.losses.singular import svd_loss
from understudy.losses.variational import variance_of, vid_loss
from understudy.losses.virtual import (
    calibrated_virtual_loss,
    published_virtual_loss,
    softened_virtual_loss,
    virtual_teacher,
)
from understudy.losses.wsld import image_weights, weighted_kd_loss

__all__ = [
    "Correlations",
    "DecoupledKD",
    "MultiLevel",
    "attention_loss",
    "attention_map",
    "average_logits",
    "average_probabilities",
    "boundary_loss",
    "calibrated_virtual_loss",
    "cc_loss",
    "contrast_scores",
    "correlation_losses",
    "decoupled_kd_losses",
    "draw_outside",
    "exit_targets",
    "factor_loss",
    "flip_symmetry_loss",
    "fsp_loss",
    "fsp_matrix",
    "gradient_attention_loss",
    "hint_loss",
    "ickd_loss",
    "image_weights",
    "input_gradient",
    "kd_loss",
    "log_normalizer",
    "logit_mse_loss",
    "measured_margin",
    "mimic_loss",
    "multi_level_losses",
    "nce_loss",
    "normal_margin",
    "nst_loss",
    "partial_l2_loss",
    "pkt_loss",
    "published_virtual_loss",
    "pyramid_loss",
    "rkd_angle_loss",
    "rkd_distance_loss",
    "smoothed_cross_entropy",
    "soft_cross_entropy",
    "softened_virtual_loss",
    "sp_loss",
    "standardize",
    "svd_loss",
    "variance_of",
    "vid_loss",
    "virtual_teacher",
    "weighted_kd_loss",
    "weighted_sum",
]

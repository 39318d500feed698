"""Losses that several papers share."""

import torch
from torch.nn import functional as F


class WeightedBCE:
    """Mean of w_i × binary cross-entropy of logits; weights: of classes 0 and 1. Shown as probabilities."""

    activation = staticmethod(torch.sigmoid)
    decodes = staticmethod(lambda probabilities: probabilities)

    def __init__(self, weights=(1.0, 1.0)):
        self.weights = torch.as_tensor(weights, dtype=torch.float32)

    def __call__(self, logits, labels):
        without, having = self.weights.to(logits.device)
        weight = torch.where(labels > 0.5, having, without)
        return F.binary_cross_entropy_with_logits(logits, labels.float(), weight=weight)

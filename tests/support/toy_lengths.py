"""Lengths of codes under random distributions."""

import numpy as np


def nats_of(n, n_codes, *, sharpness=3.0, seed=0):
    """Return ``-log p`` of n distributions, (n, n_codes)."""
    logits = sharpness * np.random.default_rng(seed).normal(size=(n, n_codes))
    return np.log(np.exp(logits).sum(1, keepdims=True)) - logits

"""What one training step of the prior computes."""

import numpy as np
import torch
import torch.nn.functional as F

from dipy_vqvae.device import autocast


class PixelCNNTask:
    """Negative log-likelihood of codes, for :func:`dipy_vqvae.training.train`.

    Parameters
    ----------
    net : torch.nn.Module
        The prior's network.
    codes : int array, shape (N, *grid)
        Training codes; kept in the smallest integer type that holds them.
    labels : int array, shape (N,), or None
        Class of each grid.
    mixed_precision : bool
        Whether the network trains in bfloat16.
    validation : tuple of (codes or None, labels or None)
        Grids for the end of each epoch.
    description : dict
        Settings and data, for the checkpoint.
    """

    def __init__(self, net, codes, *, labels, mixed_precision, validation, description):
        self.module = net
        self.codes = np.ascontiguousarray(codes, np.min_scalar_type(net.n_codes - 1))
        self.labels = labels
        self.mixed_precision = mixed_precision
        self.validation_codes, self.validation_labels = validation
        self.description = description
        self.n_items = len(codes)

    def describe(self):
        """Settings and data, for the checkpoint."""
        return self.description

    def _nats_per_code(self, codes, labels, *, mixed_precision=False):
        device = next(self.module.parameters()).device
        codes = torch.from_numpy(codes.astype(np.int64)).to(device)
        if labels is not None:
            labels = torch.from_numpy(labels).to(device)
        with autocast(device, mixed_precision):
            logits = self.module(codes, labels)
        return F.cross_entropy(logits.float(), codes)

    def loss(self, indices, progress):
        """Nats per code for the grids of `indices`."""
        labels = None if self.labels is None else self.labels[indices]
        nats = self._nats_per_code(
            self.codes[indices], labels, mixed_precision=self.mixed_precision
        )
        return {"loss": nats}

    def validate(self):
        """Nats per code on the validation grids."""
        if self.validation_codes is None:
            return {}
        total = 0.0
        for start in range(0, len(self.validation_codes), 500):
            part = slice(start, start + 500)
            codes = self.validation_codes[part]
            labels = self.validation_labels
            labels = None if labels is None else labels[part]
            total += float(self._nats_per_code(codes, labels)) * len(codes)
        return {"loss": total / len(self.validation_codes)}

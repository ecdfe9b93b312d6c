"""Lengths of codes position after position, of a prior that may be a mixture."""

import numpy as np
import torch
import torch.nn.functional as F

from dipy_vqvae.device import to_tensor


class Steps:
    """Compute ``-log p`` of all codes at one position after the other.

    Rows are divided into batches, which go through the network by themselves.

    Parameters
    ----------
    stepper : callable
        From :func:`dipy_vqvae.sampling.prepare`, of a network in double precision.
    codes : array, shape (B, *grid), int
        K where they do not count. Others are looked at once their position has passed.
    conditions : Conditions
        Of the B grids; labels are those of the user.
    log_weights : array, shape (n_classes or 1, C)
        Log-probabilities of the components.
    batch_size : int
        Grids at a time.
    device : torch.device
        Device of the network.
    """

    def __init__(self, stepper, codes, conditions, log_weights, *, batch_size, device):
        self._parts = []
        for start in range(0, len(codes), batch_size):
            part = slice(start, start + batch_size)
            of_part = _Part(stepper, codes[part], conditions[part], log_weights, device)
            self._parts.append((part, of_part))

    def nats(self, position, rows):
        """Return ``-log p`` at a position: float64 ``(n, K)``, of `rows` (B,) bool."""
        return np.concatenate(
            [of_part.nats(position, rows[part]) for part, of_part in self._parts]
        )

    def put(self, position, codes):
        """Set the codes (B,) at a position."""
        for part, of_part in self._parts:
            of_part.put(position, codes[part])


class _Part:
    """Grids that go through the network together, once for each component."""

    def __init__(self, stepper, codes, conditions, log_weights, device):
        self._device = device
        n, n_components = len(codes), log_weights.shape[1]
        # Component after component: (C, B, *grid).
        grids = to_tensor(codes, device, torch.int64)
        self._codes = grids.expand(n_components, *grids.shape).clone()
        labels = conditions.labels
        labels = np.zeros(n, np.int64) if labels is None else labels
        classes = labels * n_components + np.arange(n_components)[:, np.newaxis]
        covariates = conditions.covariates
        if covariates is not None:
            covariates = to_tensor(np.tile(covariates, (n_components, 1)), device)
        self._steps = stepper(
            self._codes.flatten(0, 1), to_tensor(classes.ravel(), device), covariates
        )
        # Of each component given the codes so far: (C, B, 1).
        weights = to_tensor(log_weights[labels].T[..., np.newaxis], device)
        self._log_weights = torch.log_softmax(weights.double(), 0)
        self._of_codes = None

    def nats(self, position, rows):
        logits = self._steps.logits(position)
        log_p = F.log_softmax(logits, dim=1)
        if len(self._codes) == 1:
            return -log_p[to_tensor(rows, self._device)].cpu().numpy()
        self._of_codes = log_p.unflatten(0, self._codes.shape[:2])  # (C, B, K)
        mixed = torch.logsumexp(self._log_weights + self._of_codes, 0)
        return -mixed[to_tensor(rows, self._device)].cpu().numpy()

    def put(self, position, codes):
        codes = to_tensor(codes, self._device, torch.int64)
        self._codes[(slice(None), slice(None), *position)] = codes
        if self._of_codes is None:
            return
        n_codes = self._of_codes.shape[2]
        chosen = codes.clamp(max=n_codes - 1)[None, :, None]
        own = self._of_codes.gather(2, chosen.expand(len(self._codes), -1, 1))
        counts = (codes < n_codes)[:, None]
        weights = torch.where(counts, self._log_weights + own, self._log_weights)
        self._log_weights = torch.log_softmax(weights, 0)
        self._of_codes = None

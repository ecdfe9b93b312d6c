"""Training and validation loss of a prior."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from dipy_vqvae.device import autocast, to_tensor
from dipy_vqvae.parallel import map_parts, share_of, weight_of_mean, world_size
from dipy_vqvae.training import usual_batch_size

# Codes of a step, where the size of the batch is not given: about 2 GiB of activations.
MOST_CODES = 1 << 17
# Share of the grids of a step that are codes of changed copies, if there are any.
VARIANT_SHARE = 2 / 3


class PixelCNNTask:
    """Negative log-likelihood of codes, for :func:`dipy_vqvae.training.loop.train`.

    Parameters
    ----------
    net : torch.nn.Module
        The prior's network.
    codes : int array, shape (N, *grid)
        Training codes; kept in the smallest integer type that holds them. K stands
        where they do not count, but not everywhere in a grid.
    conditions : Conditions
        Of each grid.
    variants : int array, shape (V, N, *grid), or empty
        Codes of changed copies of the same images, of V kinds.
    class_nats : array, shape (max(1, classes),), float
        Code length of the component of a mixture that each class is; else 0.
    mixed_precision : bool
        Whether the network trains in bfloat16.
    validation : tuple of (codes, conditions), or None
        Grids for the end of each epoch.
    description : dict
        Settings and data, for the checkpoint.
    """

    def __init__(
        self,
        net,
        codes,
        *,
        conditions,
        variants,
        class_nats,
        mixed_precision,
        validation,
        description,
    ):
        self.module = net
        # Variant 0 is the images themselves.
        codes = np.stack([codes, *variants])
        self.codes = np.ascontiguousarray(codes, np.min_scalar_type(int(codes.max())))
        self.conditions = conditions
        self.class_nats = class_nats
        self.mixed_precision = mixed_precision
        self.validation = validation
        self.description = description
        self.n_items = codes.shape[1]

    def describe(self):
        """Return settings and data, for the checkpoint."""
        return self.description

    def usual_batch_size(self):
        """Return the default number of grids per step."""
        most = MOST_CODES // self.codes[0, 0].size
        return usual_batch_size(self.n_items, most, world_size())

    def _nats_per_code(self, codes, conditions, *, mixed_precision=False):
        device = next(self.module.parameters()).device
        of_components = self._nats_of_components(codes, conditions)
        codes = to_tensor(codes, device, torch.int64)
        conditions = [
            None if values is None else to_tensor(values, device)
            for values in conditions.arrays()
        ]
        nats = []
        for logits_of in self.module.directions:
            with autocast(device, mixed_precision):
                logits = logits_of(codes, *conditions).float()
            nats.append(
                F.cross_entropy(logits, codes, ignore_index=self.module.n_codes)
            )
        return sum(nats) / len(nats) + of_components

    def _nats_of_components(self, codes, conditions):
        """Return the nats that tell the components of a mixture, per code."""
        if not self.class_nats.any():
            return 0.0
        nats = self.class_nats[conditions.labels].sum()
        return float(nats) / max(1, self._n_inside(codes))

    def _n_inside(self, codes):
        """Count the codes that a mean is taken over."""
        return int(np.count_nonzero(codes != self.module.n_codes))

    def loss(self, indices, progress, random_seed):
        """Return nats per code for this process's share of the grids `indices`."""
        items, first = share_of(indices).items, share_of(indices).first
        conditions, variants = self.conditions[items], 0
        if len(self.codes) > 1:
            # The same ones, whatever the number of processes.
            variants = draw_variants(len(indices), len(self.codes) - 1, random_seed)
            variants = variants[first : first + len(items)]
            conditions = replace(conditions, variants=variants)
        codes = self.codes[variants, items]
        nats = self._nats_per_code(
            codes,
            conditions,
            mixed_precision=self.mixed_precision,
        )
        weight = weight_of_mean(self._n_inside(codes), device=nats.device)
        return {"loss": nats * weight}

    def validate(self):
        """Return nats per code on the validation grids."""
        if self.validation is None:
            return {}
        codes, _ = self.validation
        n = len(codes)
        # Large grids fewer at a time: their logits are K numbers for each code.
        size = max(1, min(500, MOST_CODES // codes[0].size))
        sums = map_parts(self._validate_part, n, size=size)
        return {"loss": sum(sums) / self._n_inside(codes)}

    def _validate_part(self, part):
        codes, conditions = (values[part] for values in self.validation)
        return float(self._nats_per_code(codes, conditions)) * self._n_inside(codes)


def draw_variants(n, n_variants, random_seed):
    """Draw the variant of each of n grids: 0 is the image itself, int64 (n,)."""
    rng = np.random.default_rng(random_seed)
    changed = rng.random(n) < VARIANT_SHARE
    return np.where(changed, 1 + rng.integers(n_variants, size=n), 0)

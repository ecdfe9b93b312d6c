"""The training steps of the VQ-VAE, and of its decoder alone."""

from math import prod

import numpy as np
import torch

from dipy_vqvae.device import autocast, to_tensor
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.parallel import gather, share_of, weight_of_mean, world_size
from dipy_vqvae.storage import fingerprint
from dipy_vqvae.training import usual_batch_size

# Voxels of a step with the default batch size: some GiB of activations with one code
# per 2 x 2 x 2 voxels.
MOST_VOXELS = 1 << 20
# The rate weight rises to its value over this fraction of the training: before that
# the codes mean nothing yet.
RATE_RAMP = 0.15


class VQVAETask:
    r"""Loss of the VQ-VAE, for :func:`dipy_vqvae.training.train`.

    .. math::

        L = L_\mathrm{reconstruction} + L_\mathrm{quantiser}
            - \log p(\mathrm{codes})

    The last term is there with a rate weight only; it trains the rate network and
    nothing else, see :mod:`dipy_vqvae.nn.vqvae`.

    Parameters
    ----------
    net : VQVAENet
        The network, whose quantiser counts its codes.
    batches : ImageBatches
        Training images, each with something inside.
    reconstruction_loss : ReconstructionLoss
        What is minimised, beside the quantiser's loss.
    mixed_precision : bool
        Whether convolutions are computed in bfloat16.
    revive_until : float
        Fraction of the training in which unused codes are re-initialised.
    validation : ImageBatches or None
        Held-out images for the end of each epoch.
    description : dict
        Settings and data, for the checkpoint.
    advice : str, optional
        What to do where the loss becomes NaN.
    """

    def __init__(
        self,
        net,
        batches,
        *,
        reconstruction_loss,
        mixed_precision,
        revive_until,
        validation,
        description,
        advice=None,
    ):
        self.module = net
        self.batches = batches
        self.reconstruction_loss = reconstruction_loss
        self.mixed_precision = mixed_precision
        self.revive_until = revive_until
        self.validation = validation
        self.description = description
        self.advice = advice
        self.n_items = len(batches)
        self.order = batches.order

    def describe(self):
        """Return settings and data, for the checkpoint."""
        return self.description

    def usual_batch_size(self):
        """Return the default number of images per step."""
        most = MOST_VOXELS // prod(self.batches.padded)
        return usual_batch_size(self.n_items, most, world_size())

    def weighted_loss(self, reconstruction, batch):
        """Return loss and error, weighted for the average over all processes."""
        loss, mse, n_inside = self.reconstruction_loss(
            reconstruction.float(), batch.x, batch.weight
        )
        share = weight_of_mean(n_inside, device=batch.x.device)
        return loss * share, mse * share

    def loss(self, indices, progress, random_seed):
        """Return named scalar tensors for this process's share of some images."""
        share = share_of(indices)
        batch = self.batches.take(share.items, among=indices, random_seed=random_seed)
        with autocast(batch.x.device, self.mixed_precision):
            out = self.module(
                batch.x,
                update=True,
                revive=progress < self.revive_until,
                inside=batch.inside,
                price=self.module.rate_weight * min(1.0, progress / RATE_RAMP),
                first=share.first,
            )
        loss, mse = self.weighted_loss(out.reconstruction, batch)
        loss = loss + out.quantised.loss
        terms = {"mse": mse, "quantisation": out.quantised.error}
        if out.nats is not None:
            loss = loss + out.nats
            terms["nats_per_code"] = out.nats.detach()
        return {"loss": loss, **terms}

    def measure(self):
        """Return the codebook usage of the present epoch so far."""
        return self.module.quantiser.usage.usage()

    def start_epoch(self):
        """Count codes anew."""
        self.module.quantiser.usage.counts.zero_()

    def validate(self, *, refined=False):
        """Return errors and codebook usage on the validation images."""
        if self.validation is None:
            return {}
        parts = share_of(self.validation.parts()).items
        results = gather([self._validate_part(part, refined) for part in parts])
        sums, codes = zip(*results, strict=True)
        total_loss, total_mse, n_inside = np.sum(sums, axis=0)
        usage = code_usage(
            np.concatenate(codes), n_codes=len(self.module.quantiser.codebook)
        )
        return {
            "loss": total_loss / n_inside,
            "mse": total_mse / n_inside,
            "n_used": float(usage.n_used),
            "perplexity": usage.perplexity,
        }

    def _validate_part(self, part, refined):
        """Return sums of loss, squares and ones over a part, and the codes inside."""
        batch = self.validation[part]
        codes = self.module.codes(
            batch.x, weight=batch.weight, inside=batch.inside, refined=refined
        )
        loss, mse, n_inside = self.reconstruction_loss(
            self.module.decode(codes), batch.x, batch.weight
        )
        n = int(n_inside)
        codes = codes.flatten() if batch.inside is None else codes[batch.inside]
        return (n * float(loss), n * float(mse), n), codes.cpu().numpy()


class DecoderTask:
    """Reconstruction loss of the decoder alone, with fixed codes (N, *grid).

    `joint` is the VQVAETask of the training before, with its images and settings.
    """

    def __init__(self, net, codes, joint):
        self.module = net.decoder
        self.codebook = net.quantiser.codebook.detach()
        self.codes = np.ascontiguousarray(
            codes, np.min_scalar_type(len(self.codebook) - 1)
        )
        self.joint = joint
        self.advice = joint.advice
        self.n_items = joint.n_items

    def describe(self):
        """Return settings, data and the weights of the encoder, for the checkpoint.

        The codes themselves may differ by rounding on another device.
        """
        weights = [
            tensor.cpu().numpy().ravel().astype(np.float64)
            for name, tensor in self.joint.module.state_dict().items()
            if not name.startswith("decoder.")
        ]
        return {
            **self.joint.description,
            "encoder": fingerprint(np.concatenate(weights)),
        }

    def usual_batch_size(self):
        """Return the default number of images per step."""
        return self.joint.usual_batch_size()

    def loss(self, indices, progress, random_seed):
        """Return named scalar tensors for this process's share of some images."""
        items = share_of(indices).items
        batch = self.joint.batches.take(items, among=indices)
        vectors = self._vectors(items, batch.x.shape[2:])
        with autocast(batch.x.device, self.joint.mixed_precision):
            reconstruction = self.module(vectors)
        loss, mse = self.joint.weighted_loss(reconstruction, batch)
        return {"loss": loss, "mse": mse}

    def validate(self):
        """Return the errors on the validation images, with such codes as it learns."""
        return self.joint.validate(refined=True)

    def _vectors(self, items, padded):
        """Return the codebook vectors (B, D, *grid) of images of a padded shape."""
        # Codes are padded to the largest grid of all, the batch to its own.
        grid = [n // f for n, f in zip(padded, self.joint.batches.factors)]
        codes = self.codes[(items, *map(slice, grid))]
        codes = to_tensor(codes, self.codebook.device, torch.int64)
        # (B, *grid) -> (B, *grid, D) -> (B, D, *grid)
        return self.codebook[codes].movedim(-1, 1)

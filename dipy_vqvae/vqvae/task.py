"""What one training step of the VQ-VAE computes."""

from math import prod

import numpy as np
import torch

from dipy_vqvae.device import autocast
from dipy_vqvae.metrics import code_usage
from dipy_vqvae.parallel import gather, share_of, weight_of_mean, world_size
from dipy_vqvae.storage import fingerprint
from dipy_vqvae.training import usual_batch_size

# Dead codes are revived up to this fraction of the training; then the codebook
# settles.
REVIVE_UNTIL = 0.8
# Voxels of a step, where the size of the batch is not given: some GiB of activations
# where there is a code to 2 x 2 x 2 of them.
MOST_VOXELS = 1 << 20
# The price of code length rises to its value over this fraction of the training:
# before that the codes mean nothing yet.
RATE_RAMP = 0.15


LOSSES = ("mse", "mae")


def reconstruction_loss(difference, weight, *, kind, variance):
    r"""Loss of reconstructions, free of units.

    :math:`\overline{d^2} / \sigma^2` (mse) or :math:`\overline{|d|} / \sigma` (mae).
    """

    def mean(values):
        return (values if weight is None else values * weight).sum() / n_inside

    n_inside = difference.numel()
    if weight is not None:
        n_inside = weight.expand_as(difference).sum()
    if kind == "mae":
        loss = mean(difference.abs()) / variance**0.5
        return loss, mean(difference.detach().square()), n_inside
    mse = mean(difference.square())
    return mse / variance, mse.detach(), n_inside


class VQVAETask:
    r"""Loss of the VQ-VAE, for :func:`dipy_vqvae.training.loop.train`.

    .. math::

        L = L_\mathrm{reconstruction} + L_\mathrm{quantiser}
            - \log p(\mathrm{codes})

    The first term is that of :func:`reconstruction_loss`. The last term is there
    where the network has a price on code length; it trains the rate network and
    nothing else, see :mod:`dipy_vqvae.nn.vqvae`.

    Parameters
    ----------
    net : VQVAENet
        The network.
    batches : ImageBatches
        Training images, each with something inside.
    variance : float
        Variance of the training images, in the network's units.
    loss_kind : {"mse", "mae"}
        What the reconstruction is judged by.
    mixed_precision : bool
        Whether the convolutions work in bfloat16.
    validation : ImageBatches or None
        Images for the end of each epoch.
    description : dict
        Settings and data, for the checkpoint.
    """

    def __init__(
        self,
        net,
        batches,
        *,
        variance,
        loss_kind,
        mixed_precision,
        validation,
        description,
    ):
        self.module = net
        self.batches = batches
        self.variance = variance
        self.loss_kind = loss_kind
        self.mixed_precision = mixed_precision
        self.validation = validation
        self.description = description
        self.n_items = len(batches)
        self.order = getattr(batches, "order", None)

    def describe(self):
        """Settings and data, for the checkpoint."""
        return self.description

    def usual_batch_size(self):
        """Images per step where none are asked for."""
        most = MOST_VOXELS // prod(self.batches.padded)
        return usual_batch_size(self.n_items, most, world_size())

    def reconstruction_loss(self, difference, weight):
        """See the function of this name."""
        return reconstruction_loss(
            difference, weight, kind=self.loss_kind, variance=self.variance
        )

    def weighted_loss(self, difference, weight):
        """Loss and error, weighted for the average over all processes."""
        loss, mse, n_inside = self.reconstruction_loss(difference, weight)
        share = weight_of_mean(n_inside, device=difference.device)
        return loss * share, mse * share

    def loss(self, indices, progress):
        """Named scalar tensors for this process's share of the images `indices`."""
        share = share_of(indices)
        batch = self.batches.take(share.items, among=indices)
        with autocast(batch.x.device, self.mixed_precision):
            out = self.module(
                batch.x,
                update=True,
                revive=progress < REVIVE_UNTIL,
                inside=batch.inside,
                price=self.module.rate_weight * min(1.0, progress / RATE_RAMP),
                first=share.first,
            )
        loss, mse = self.weighted_loss(out.reconstruction - batch.x, batch.weight)
        loss = loss + out.quantised.loss
        named = {"mse": mse, "quantisation": out.quantised.error}
        if out.nats is not None:
            loss = loss + out.nats
            named["nats_per_code"] = out.nats.detach()
        return {"loss": loss, **named}

    def validate(self):
        """Error and code usage on the validation images."""
        if self.validation is None:
            return {}
        parts = share_of(self.validation.parts()).items
        results = gather([self._validate_part(part) for part in parts])
        sums, codes = zip(*results, strict=True)
        total_loss, total_mse, n_inside = np.sum(sums, axis=0)
        loss, mse = total_loss / n_inside, total_mse / n_inside
        usage = code_usage(
            np.concatenate(codes), n_codes=len(self.module.quantiser.codebook)
        )
        return {
            "loss": loss,
            "mse": mse,
            "n_used": float(usage.n_used),
            "perplexity": usage.perplexity,
        }

    def _validate_part(self, part):
        """Sums of loss, squares and ones over some images, and the codes inside."""
        batch = self.validation[part]
        # Not refined: what a training does must not depend on what comes after it.
        codes = self.module.codes(batch.x, refined=False)
        difference = self.module.decode(codes) - batch.x
        loss, mse, n_inside = self.reconstruction_loss(difference, batch.weight)
        n = int(n_inside)
        codes = codes.flatten() if batch.inside is None else codes[batch.inside]
        return (n * float(loss), n * float(mse), n), codes.cpu().numpy()


class DecoderTask:
    """Loss of the decoder alone, on codes that do not change any more.

    It is the first term of the loss of the training before.

    Parameters
    ----------
    net : VQVAENet
        The trained network.
    codes : int array, shape (N, *grid)
        Codes of the training images.
    joint : VQVAETask
        The training before, with its images and settings.
    """

    def __init__(self, net, codes, joint):
        self.module = net.decoder
        self.codebook = net.quantiser.codebook.detach()
        self.codes = np.ascontiguousarray(
            codes, np.min_scalar_type(len(self.codebook) - 1)
        )
        self.joint = joint
        self.n_items = joint.n_items

    def describe(self):
        """Settings, data and the weights that made the codes, for the checkpoint.

        The codes themselves may differ by one where another device rounds otherwise.
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
        """As of the training before."""
        return self.joint.usual_batch_size()

    def loss(self, indices, progress):
        """Named scalar tensors for this process's share of the images `indices`."""
        mine = share_of(indices).items
        batch = self.joint.batches.take(mine, among=indices)
        codes = self.codes[mine].astype(np.int64)
        # Codes are padded to the largest grid of all, the batch to its own.
        grid = [n // f for n, f in zip(batch.x.shape[2:], self.joint.batches.factors)]
        codes = torch.from_numpy(codes[(slice(None), *map(slice, grid))])
        vectors = self.codebook[codes.to(self.codebook.device)].movedim(-1, 1)
        with autocast(batch.x.device, self.joint.mixed_precision):
            reconstruction = self.module(vectors)
        loss, mse = self.joint.weighted_loss(
            reconstruction.float() - batch.x, batch.weight
        )
        return {"loss": loss, "mse": mse}

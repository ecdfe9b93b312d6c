"""What one training step of the VQ-VAE computes."""

import torch
import torch.nn.functional as F

from dipy_vqvae.metrics import code_usage

# Dead codes are revived up to this fraction of the training; then the codebook
# settles.
REVIVE_UNTIL = 0.8
# The rate term comes in over this fraction of the training: before that the codes
# mean nothing yet.
RATE_RAMP = 0.15


def masked_mean_square(difference, weight):
    """Mean square of ``(B, C, *grid)`` inside a weight ``(1, 1, *grid)`` or None."""
    square = difference.square()
    if weight is None:
        return square.mean()
    n_inside = weight.sum() * difference.shape[0] * difference.shape[1]
    return (square * weight).sum() / n_inside


def scale_gradient(x, factor):
    """`x` in the forward pass; its gradient times `factor` in the backward."""
    return x * factor + (x * (1 - factor)).detach()


def soft_rate(latents, codebook, log_prob, temperature):
    r"""Expected code length of soft assignments, in nats per position.

    :math:`\sum_k q_k (-\log p_k)` with :math:`q \propto \exp(-|z - e_k|^2 / \tau)`:
    the hard assignment has no gradient, this pulls a vector towards those of the
    codes near it that are cheap to transmit.

    Parameters
    ----------
    latents : torch.Tensor, shape (N, D)
    codebook : torch.Tensor, shape (K, D)
    log_prob : torch.Tensor, shape (N, K)
        Natural logarithm of the probability of each code.
    temperature : float
        :math:`\tau`, in units of squared distance.
    """
    scores = torch.addmm(codebook.square().sum(1), latents, codebook.t(), alpha=-2)
    return -(F.softmax(-scores / temperature, dim=1) * log_prob).sum(1).mean()


class VQVAETask:
    """Loss of the VQ-VAE, for :func:`dipy_vqvae.training.train`.

    .. math::

        L = |x - \\hat x|^2 / \\mathrm{var}(x) + L_\\mathrm{quantiser}
            + w (-\\log p(\\mathrm{codes}))

    The rate term is there when `rate_weight` is positive: a small causal network
    predicts each code from those before it, and the encoder is trained to produce
    codes that it predicts well, as in entropy-constrained quantisation
    :footcite:p:`Chou1989`. It is used in training only.

    Parameters
    ----------
    module : torch.nn.ModuleDict
        ``net`` and, for a rate term, ``rate``.
    batches : ImageBatches
        Training images.
    variance : float
        Variance of the training images, in the network's units.
    rate_weight : float
        w, in units of normalised distortion per nat and position.
    validation : ImageBatches or None
        Images for the end of each epoch.
    description : dict
        Settings and data, for the checkpoint.

    References
    ----------
    .. footbibliography::
    """

    def __init__(
        self, module, batches, *, variance, rate_weight, validation, description
    ):
        self.module = module
        self.batches = batches
        self.variance = variance
        self.rate_weight = rate_weight
        self.validation = validation
        self.description = description
        self.n_items = len(batches)

    def describe(self):
        """Settings and data, for the checkpoint."""
        return self.description

    def loss(self, indices, progress):
        """Named scalar tensors for the images of `indices`."""
        net = self.module["net"]
        x = self.batches[indices]
        out = net(x, update=True, revive=progress < REVIVE_UNTIL)
        mse = masked_mean_square(out.reconstruction - x, self.batches.weight)
        loss = mse / self.variance + out.quantised.loss
        named = {"mse": mse.detach(), "quantisation": out.quantised.error}
        if self.rate_weight:
            weight = self.rate_weight * min(1.0, progress / RATE_RAMP)
            rate_loss, nll = self._rate(out, weight)
            loss = loss + rate_loss
            named["rate"] = nll.detach()
        return {"loss": loss, **named}

    def _rate(self, out, weight):
        """Loss of the rate model and of the encoder's rate, and nats per code."""
        # The rate model itself learns at full strength, the encoder (through the
        # codes that serve as context) at the weight of the rate.
        context = scale_gradient(out.quantised_grid, weight)
        logits = self.module["rate"].forward_embedded(context)
        log_prob = F.log_softmax(logits.movedim(1, -1).flatten(0, -2), dim=1)
        nll = F.nll_loss(log_prob, out.quantised.codes)
        temperature = out.quantised.error
        codebook = self.module["net"].quantiser.codebook.detach()
        soft = soft_rate(out.latents, codebook, log_prob.detach(), temperature)
        return nll + weight * soft, nll

    def validate(self):
        """Error and code usage on the validation images."""
        if self.validation is None:
            return {}
        net = self.module["net"]
        total, codes = 0.0, []
        for x in self.validation.slices(500):
            batch_codes = net.codes(x)
            difference = net.decode(batch_codes) - x
            mse = masked_mean_square(difference, self.validation.weight)
            total += float(mse) * len(x)
            codes.append(batch_codes.cpu())
        mse = total / len(self.validation)
        usage = code_usage(
            torch.cat(codes).numpy(), n_codes=len(net.quantiser.codebook)
        )
        return {
            "loss": mse / self.variance,
            "mse": mse,
            "n_used": float(usage.n_used),
            "perplexity": usage.perplexity,
        }

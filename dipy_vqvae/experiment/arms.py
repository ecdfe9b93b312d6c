"""The arms of the experiment: ways of making images, each without some of the parts.

The parts are encoder, codebook, prior, sampling layer and decoder.
"""

from dataclasses import dataclass

import numpy as np
import torch

from dipy_vqvae.experiment import gaussian_vae as gaussian
from dipy_vqvae.experiment.data import unit
from dipy_vqvae.experiment.sampling_layer import encoder_vectors, sampling_layer
from dipy_vqvae.experiment.settings import derived_seed
from dipy_vqvae.sampling import FullPasses, sample_codes


@dataclass(frozen=True)
class ArmLabel:
    """Name of an arm in files (key), figures and tables."""

    key: str
    number: int | None  # question of the experiment; None for references
    title: str
    subtitle: str
    from_images: bool = False  # whether its images are made from the test images

    @property
    def numbered_title(self):
        """The title after the number of the question."""
        return self.title if self.number is None else f"{self.number} {self.title}"


LABELS = {
    label.key: label
    for label in (
        ArmLabel("test", None, "Test images", "reference", True),
        ArmLabel("train", None, "Training images", "for comparison"),
        ArmLabel(
            "reconstruction", 1, "Reconstruction", "encoder, codebook, decoder", True
        ),
        ArmLabel("layer_nearest", 2, "Sampling layer alone", "logits −d²/τ", True),
        ArmLabel("layer_farthest", 2, "… as in the notebook", "logits +d²/τ", True),
        ArmLabel("uniform", 3, "Uniform codes", "all equally likely"),
        ArmLabel("marginal", 3, "Code frequencies", "over all positions"),
        ArmLabel("position_marginal", 3, "Code frequencies", "at each position"),
        ArmLabel("argmax_plain", 4, "Plain PixelCNN", "most probable codes"),
        ArmLabel("argmax_gated", 4, "Gated PixelCNN", "most probable codes"),
        ArmLabel("plain", 5, "Plain PixelCNN", "sampled"),
        ArmLabel("gated", 5, "Gated PixelCNN", "sampled"),
        ArmLabel("vae_reconstruction", 6, "Gaussian VAE", "reconstruction", True),
        ArmLabel("vae_samples", 6, "Gaussian VAE", "latents from N(0, 1)"),
    )
}


@dataclass(frozen=True, eq=False)
class Arm:
    """Images of an arm, and the codes that they were decoded from."""

    key: str
    images: np.ndarray  # (N, H, W), float32, in [0, 1]
    codes: np.ndarray | None = None  # (N, *grid), int32


def decode(fit, codes):
    """Decode codes to pixels in [0, 1], with a VQ-VAE trained on bytes."""
    return unit(fit.decode(codes))


def uniform_codes(n, *, grid, n_codes, random_seed):
    """Draw codes (n, *grid) uniformly."""
    rng = np.random.default_rng(random_seed)
    return rng.integers(n_codes, size=(n, *grid), dtype=np.int32)


def marginal_codes(codes, n, *, random_seed):
    """Draw codes (n, *grid) independently with the frequencies of `codes`."""
    rng = np.random.default_rng(random_seed)
    pool = codes.reshape(-1)
    return pool[rng.integers(len(pool), size=(n, *codes.shape[1:]))]


def position_marginal_codes(codes, n, *, random_seed):
    """Draw codes (n, *grid) with the frequencies of `codes` at each position."""
    rng = np.random.default_rng(random_seed)
    rows = codes.reshape(len(codes), -1)
    # Each position takes its code from another random image.
    image = rng.integers(len(rows), size=(n, rows.shape[1]))
    drawn = rows[image, np.arange(rows.shape[1])]
    return drawn.reshape(n, *codes.shape[1:])


def make_arms(data, models, settings, *, random_seed, verbose=False):
    """Yield the arms in the order of `LABELS`."""
    fit, train_codes, test_codes = models.vqvae, models.train_codes, models.test_codes
    n = settings.n_images
    test_images = data.test_images[:n]

    def seed(purpose):
        return derived_seed(random_seed, purpose)

    yield Arm("test", unit(test_images), test_codes[:n])
    yield Arm("train", unit(data.train_images[:n]), train_codes[:n])
    for key, codes in {
        "reconstruction": test_codes[:n],
        **_layer_codes(fit, test_images, settings.shown_tau, seed("sampling layer")),
        "uniform": uniform_codes(
            n,
            grid=train_codes.shape[1:],
            n_codes=fit.n_codes,
            random_seed=seed("uniform"),
        ),
        "marginal": marginal_codes(train_codes, n, random_seed=seed("marginal")),
        "position_marginal": position_marginal_codes(
            train_codes, n, random_seed=seed("position")
        ),
    }.items():
        yield Arm(key, decode(fit, codes), codes)
    for kind in ("plain", "gated"):
        prior = models.priors[kind]
        codes = prior.sample(settings.n_argmax, temperature=0, random_seed=random_seed)
        yield Arm(f"argmax_{kind}", decode(fit, codes), codes)
    for kind in ("plain", "gated"):
        codes = models.priors[kind].sample(
            getattr(settings, f"n_{kind}_samples"),
            random_seed=seed("prior samples"),
            verbose=verbose,
        )
        yield Arm(kind, decode(fit, codes), codes)
    vae = models.gaussian_vae
    images = gaussian.reconstruct(vae, unit(test_images))
    yield Arm("vae_reconstruction", images.clip(0, 1))
    images = gaussian.sample(vae, n, random_seed=seed("gaussian samples"))
    yield Arm("vae_samples", images.clip(0, 1))


def _layer_codes(fit, images, tau, random_seed):
    vectors = encoder_vectors(fit, images)
    return {
        f"layer_{favour}": sampling_layer(
            vectors, fit.codebook, tau=tau, favour=favour, random_seed=random_seed
        ).first
        for favour in ("nearest", "farthest")
    }


def codes_from_canvas(prior, canvas, *, random_seed):
    """Sample a prior by full passes over a canvas of codes (N, *grid).

    As in the original experiment, the whole canvas goes through the network for each
    position, codes that are yet to be drawn included. With an empty canvas the draws
    are those of ``prior.sample``.
    """
    start = torch.from_numpy(np.asarray(canvas, np.int64))
    filled = []

    def stepper(net, codes, *conditions):
        # Smaller grids are only looked at for their rounding.
        if codes.shape == start.shape:
            codes.copy_(start)
            filled.append(True)
        return FullPasses(net, codes, *conditions)

    codes = sample_codes(
        prior.net,
        len(canvas),
        labels=prior.draw_components(len(canvas), random_seed=random_seed),
        grid_shape=canvas.shape[1:],
        random_seed=random_seed,
        batch_size=len(canvas),
        stepper=stepper,
    )
    if not filled:
        raise ValueError(f"{len(canvas)} grids do not fit into one batch")
    return codes


def canvas_influence(prior, train_codes, n, *, random_seed):
    """Compare codes drawn from several initial canvases with those from an empty one."""
    grid = train_codes.shape[1:]
    empty = np.zeros((n, *grid), np.int32)
    noise = uniform_codes(
        n,
        grid=grid,
        n_codes=prior.n_codes,
        random_seed=derived_seed(random_seed, "canvas"),
    )
    first = np.broadcast_to(train_codes[0], (n, *grid))
    expected = codes_from_canvas(prior, empty, random_seed=random_seed)
    others = {
        "training image": codes_from_canvas(prior, first, random_seed=random_seed),
        "random codes": codes_from_canvas(prior, noise, random_seed=random_seed),
        "sampler": prior.sample(n, random_seed=random_seed),
        "other seed": codes_from_canvas(prior, empty, random_seed=random_seed + 1),
    }
    return {name: float(np.mean(codes == expected)) for name, codes in others.items()}

"""The arms of the experiment: ways of making an image, one missing a part each.

Encoder, codebook, prior, sampling layer, decoder: each arm leaves out some of them,
and what it gives says what they are for.
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
    """How an arm is named.

    Attributes
    ----------
    key : str
        In files.
    number : int or None
        Question of the experiment that it belongs to; None for references.
    title, subtitle : str
        In figures and tables.
    from_images : bool
        Whether it starts from test images, so that its images have a counterpart.
    """

    key: str
    number: int | None
    title: str
    subtitle: str
    from_images: bool = False


LABELS = {
    label.key: label
    for label in (
        ArmLabel("test", None, "Test images", "measured against", True),
        ArmLabel("train", None, "Training images", "the best that can be had"),
        ArmLabel(
            "reconstruction", 1, "Reconstruction", "encoder, codebook, decoder", True
        ),
        ArmLabel("layer_nearest", 2, "Sampling layer alone", "logits −d²/τ", True),
        ArmLabel("layer_farthest", 2, "… as in the notebook", "logits +d²/τ", True),
        ArmLabel("uniform", 3, "Uniform codes", "all equally likely"),
        ArmLabel("marginal", 3, "Codes by frequency", "as often as in training"),
        ArmLabel("position_marginal", 3, "Frequency by position", "as often as there"),
        ArmLabel("argmax_plain", 4, "Plain PixelCNN", "likeliest codes"),
        ArmLabel("argmax_gated", 4, "Gated PixelCNN", "likeliest codes"),
        ArmLabel("plain", 5, "Plain PixelCNN", "sampled"),
        ArmLabel("gated", 5, "Gated PixelCNN", "sampled"),
        ArmLabel("vae_reconstruction", 6, "Gaussian VAE", "reconstruction", True),
        ArmLabel("vae_samples", 6, "Gaussian VAE", "latents from N(0, 1)"),
    )
}


@dataclass(frozen=True, eq=False)
class Arm:
    """Images that an arm made.

    Attributes
    ----------
    key : str
        Which arm, one of `LABELS`.
    images : array (N, H, W), float32
        Pixels in [0, 1].
    codes : array (N, *grid), int32, or None
        Codes that they were decoded from.
    """

    key: str
    images: np.ndarray
    codes: np.ndarray | None = None


def decode(fit, codes):
    """Images of codes, pixels in [0, 1], of a VQ-VAE trained on bytes."""
    return unit(fit.decode(codes))


def uniform_codes(n, *, grid, n_codes, random_seed):
    """Codes drawn uniformly, ``(n, *grid)``."""
    rng = np.random.default_rng(random_seed)
    return rng.integers(n_codes, size=(n, *grid), dtype=np.int32)


def marginal_codes(codes, n, *, random_seed):
    """Codes drawn with the frequencies of given ones.

    Parameters
    ----------
    codes : array (N, *grid)
        Codes of training images.
    n : int
        Number of grids to draw.
    random_seed : int

    Returns
    -------
    drawn : array (n, *grid), int32
        Independent draws: position and image do not matter.
    """
    rng = np.random.default_rng(random_seed)
    pool = codes.reshape(-1)
    return pool[rng.integers(len(pool), size=(n, *codes.shape[1:]))]


def position_marginal_codes(codes, n, *, random_seed):
    """Codes drawn with the frequencies that given ones have at each position.

    Parameters and returns are those of :func:`marginal_codes`.
    """
    rng = np.random.default_rng(random_seed)
    rows = codes.reshape(len(codes), -1)
    # The code that a random image has there, another image for each position.
    image = rng.integers(len(rows), size=(n, rows.shape[1]))
    drawn = rows[image, np.arange(rows.shape[1])]
    return drawn.reshape(n, *codes.shape[1:])


def make_arms(
    data, models, train_codes, test_codes, settings, *, random_seed, verbose=False
):
    """Make the images of the arms, one arm after the other.

    Parameters
    ----------
    data : ExperimentData
    models : TrainedModels
    train_codes, test_codes : array (N, *grid)
        Codes of all training and test images.
    settings : ExperimentSettings
    random_seed : int
    verbose : bool, optional
        Show the progress of sampling.

    Yields
    ------
    arm : Arm
        In the order of `LABELS`.
    """
    fit = models.vqvae
    n = settings.n_images
    test_images = data.test_images[:n]

    def seed(purpose):
        return derived_seed(random_seed, purpose)

    def decoded(key, codes):
        return Arm(key, decode(fit, codes), codes)

    yield Arm("test", unit(test_images), test_codes[:n])
    yield Arm("train", unit(data.train_images[:n]), train_codes[:n])
    yield decoded("reconstruction", test_codes[:n])
    vectors = encoder_vectors(fit, test_images)
    for favour in ("nearest", "farthest"):
        drawn = sampling_layer(
            vectors,
            fit.codebook,
            tau=settings.shown_tau,
            favour=favour,
            random_seed=seed("sampling layer"),
        )
        yield decoded(f"layer_{favour}", drawn.first)
    grid, n_codes = train_codes.shape[1:], fit.n_codes
    yield decoded(
        "uniform",
        uniform_codes(n, grid=grid, n_codes=n_codes, random_seed=seed("uniform")),
    )
    yield decoded(
        "marginal", marginal_codes(train_codes, n, random_seed=seed("marginal"))
    )
    yield decoded(
        "position_marginal",
        position_marginal_codes(train_codes, n, random_seed=seed("position")),
    )
    for kind in ("plain", "gated"):
        prior = models.priors[kind]
        codes = prior.sample(settings.n_argmax, temperature=0, random_seed=random_seed)
        yield decoded(f"argmax_{kind}", codes)
    for kind in ("plain", "gated"):
        codes = models.priors[kind].sample(
            getattr(settings, f"n_{kind}_samples"),
            random_seed=seed("prior samples"),
            verbose=verbose,
        )
        yield decoded(kind, codes)
    vae = models.gaussian_vae
    images = gaussian.reconstruct(vae, unit(test_images))
    yield Arm("vae_reconstruction", images.clip(0, 1))
    images = gaussian.sample(vae, n, random_seed=seed("gaussian samples"))
    yield Arm("vae_samples", images.clip(0, 1))


def codes_from_canvas(prior, canvas, *, random_seed):
    """Sample a prior in full passes over a canvas that is not empty.

    As the original experiment samples: the whole canvas goes through the network
    for each position, also what is drawn later.

    Parameters
    ----------
    prior : PixelCNNFit
        A prior without labels.
    canvas : array (N, *grid)
        Codes to start from; every one is replaced in turn.
    random_seed : int
        Seed of the draws: with an empty canvas they are those of ``prior.sample``.

    Returns
    -------
    codes : array (N, *grid), int32
    """
    start = torch.from_numpy(np.asarray(canvas, np.int64))
    filled = []

    def stepper(net, codes, labels):
        # Smaller grids are only looked at for their rounding.
        if codes.shape == start.shape:
            codes.copy_(start)
            filled.append(True)
        return FullPasses(net, codes, labels)

    codes = sample_codes(
        prior.net,
        len(canvas),
        grid_shape=canvas.shape[1:],
        random_seed=random_seed,
        batch_size=len(canvas),
        stepper=stepper,
    )
    if not filled:
        raise ValueError(f"{len(canvas)} grids are too many to be drawn at a time")
    return codes


def canvas_influence(prior, train_codes, n, *, random_seed):
    """Does the starting canvas change what is drawn?

    Parameters
    ----------
    prior : PixelCNNFit
    train_codes : array (N, *grid)
        Codes of training images; the first image's are one of the canvases.
    n : int
        Images to draw from each.
    random_seed : int
        Seed of the draws, the same for all canvases.

    Returns
    -------
    equal : dict of float
        Fraction of the codes equal to those of an empty canvas: "training image",
        "random codes", "sampler" (the package's own); and, to compare with, "other
        seed" from an empty canvas.
    """
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

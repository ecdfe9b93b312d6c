"""From trained models to numbers and to images for the figures."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dipy_vqvae.experiment import arms as arms_module
from dipy_vqvae.experiment import gaussian_vae as gaussian
from dipy_vqvae.experiment.arms import LABELS, canvas_influence, decode, make_arms
from dipy_vqvae.experiment.data import one_of_each, unit
from dipy_vqvae.experiment.measures import (
    Ruler,
    independent_bits,
    neighbour_distances,
    rate,
    reconstruction_quality,
    share_of_copies,
    summary,
    usage,
)
from dipy_vqvae.experiment.sampling_layer import (
    codes_at_price,
    encoder_vectors,
    mean_distances,
    sampling_layer,
)
from dipy_vqvae.experiment.settings import derived_seed
from dipy_vqvae.metrics import mean_squared_error

# Images of an arm in the figures; generated digits of the large one.
N_SHOWN = 12
N_GENERATED = 200
# Code lengths on training data are those of the first so many images.
N_TRAIN_RATED = 2_000


@dataclass
class Pictures:
    """Images that the figures show, a few of each kind.

    Attributes
    ----------
    arms : dict of array (n, H, W)
        By key of the arm.
    generated : array (n, H, W)
        The first samples of the gated prior.
    layer : dict of array
        By favoured code and temperature, such as ``("nearest", 1.0)``.
    temperatures : dict of array
        By temperature of the gated prior.
    samples, neighbours, neighbour_distances : array
        Samples and the training images nearest to them.
    codes : dict of array (n, *grid)
        "reconstruction" and "gated": codes of the images of these arms.
    codebook : array (K, D)
    """

    arms: dict = field(default_factory=dict)
    generated: np.ndarray | None = None
    layer: dict = field(default_factory=dict)
    temperatures: dict = field(default_factory=dict)
    samples: np.ndarray | None = None
    neighbours: np.ndarray | None = None
    neighbour_distances: np.ndarray | None = None
    codes: dict = field(default_factory=dict)
    codebook: np.ndarray | None = None


class Evaluation:
    """Measures trained models on the test images.

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
    """

    def __init__(
        self,
        data,
        models,
        train_codes,
        test_codes,
        settings,
        *,
        random_seed,
        verbose=False,
    ):
        self.data = data
        self.models = models
        self.train_codes = train_codes
        self.test_codes = test_codes
        self.settings = settings
        self.random_seed = random_seed
        self.verbose = verbose
        self.shown = one_of_each(data.test_labels[: settings.n_images], N_SHOWN)
        self.pictures = Pictures(codebook=models.vqvae.codebook)

    @cached_property
    def ruler(self):
        """What images are measured with."""
        return Ruler(unit(self.data.test_images))

    def reconstruction(self):
        """Quality of reconstructed test images, use of the codes."""
        fit, data = self.models.vqvae, self.data
        variance = float(np.var(data.train_images, dtype=np.float64)) / 255**2
        quality = reconstruction_quality(
            unit(data.test_images), decode(fit, self.test_codes), variance=variance
        )
        quality["train_mse"] = self._train_mse()
        quality["variance"] = variance
        codes = {
            "n_codes": fit.n_codes,
            "grid_shape": list(fit.latent_shape),
            "train": usage(self.train_codes, fit.n_codes),
            "test": usage(self.test_codes, fit.n_codes),
        }
        return {"reconstruction": quality, "codes": codes}

    def _train_mse(self):
        part = slice(0, N_TRAIN_RATED)
        images = decode(self.models.vqvae, self.train_codes[part])
        reference = unit(self.data.train_images[part])
        return float(mean_squared_error(reference, images).mean())

    def priors(self):
        """Code lengths under the priors, and without a prior."""
        bits = {
            kind: {
                "train": rate(prior, self.train_codes[:N_TRAIN_RATED]),
                "test": rate(prior, self.test_codes),
            }
            for kind, prior in self.models.priors.items()
        }
        independent = independent_bits(
            self.train_codes, self.test_codes, self.models.vqvae.n_codes
        )
        return {"priors": bits, "independent_bits": independent}

    def rate_distortion(self):
        """Codes of the same images at several prices of code length."""
        fit = self.models.vqvae
        images = self.data.test_images[: self.settings.n_rated]
        # Without a rate network there is no price, and one point.
        factors = self.settings.price_factors if fit.config.rate_weight else (0.0,)
        curve = []
        for factor in factors:
            codes = codes_at_price(fit, images, factor)
            mse = mean_squared_error(unit(images), decode(fit, codes)).mean()
            bits = rate(self.models.priors["gated"], codes)["bits_per_image"]
            curve.append({"price": factor, "mse": mse, "bits_per_image": bits})
        return {"rate_distortion": curve}

    def arms(self):
        """Make the arms, measure each and keep a few of its images."""
        ruler = self.ruler
        reference = unit(self.data.test_images[: self.settings.n_images])
        measured = []
        for arm in make_arms(
            self.data,
            self.models,
            self.train_codes,
            self.test_codes,
            self.settings,
            random_seed=self.random_seed,
            verbose=self.verbose,
        ):
            label = LABELS[arm.key]
            measures = ruler.measure(arm)
            measures["mse"] = None
            if label.from_images and arm.key != "test":
                measures["mse"] = mean_squared_error(reference, arm.images).mean()
            measures["bits_per_image"] = self._bits(arm)
            measured.append({"key": arm.key, "number": label.number, **measures})
            self._keep(arm, label)
            if arm.key == "gated":
                self._look_for_copies(arm)
        accuracy = {
            "test": ruler.accuracy(unit(self.data.test_images), self.data.test_labels)
        }
        return {
            "arms": measured,
            "classifier_accuracy": accuracy,
            "memorisation": self.memorisation,
        }

    def _bits(self, arm):
        if arm.codes is None:
            return None
        codes = arm.codes[: self.settings.n_rated]
        return {
            kind: rate(prior, codes)["bits_per_image"]
            for kind, prior in self.models.priors.items()
        }

    def _keep(self, arm, label):
        shown = self.shown if label.from_images else slice(0, N_SHOWN)
        self.pictures.arms[arm.key] = arm.images[shown].copy()
        if arm.key in ("reconstruction", "gated"):
            self.pictures.codes[arm.key] = arm.codes[shown].copy()
        if arm.key == "gated":
            self.pictures.generated = arm.images[:N_GENERATED].copy()

    def _look_for_copies(self, arm):
        """Are samples copies of training images? Against unseen real ones."""
        n = self.settings.n_neighbours
        training = self.data.train_images
        samples = arm.images[:n]
        found = neighbour_distances(samples, training)
        # Decoded images are smoother than real ones and nearer to everything: what
        # samples are compared with are reconstructions of test images.
        unseen = neighbour_distances(
            decode(self.models.vqvae, self.test_codes[:n]), training
        )
        self.memorisation = {
            "n_images": len(samples),
            "samples": summary(found.distance),
            "reconstructed_test_images": summary(unseen.distance),
            "copied_codes": {
                "samples": share_of_copies(arm.codes, self.train_codes),
                "test_images": share_of_copies(self.test_codes, self.train_codes),
            },
        }
        self.pictures.samples = samples[:N_SHOWN].copy()
        self.pictures.neighbours = unit(training[found.index[:N_SHOWN]])
        self.pictures.neighbour_distances = found.distance[:N_SHOWN]

    def layer(self):
        """The sampling layer alone, for several temperatures and both signs."""
        fit, settings = self.models.vqvae, self.settings
        images = self.data.test_images[: settings.n_layer_images]
        vectors = encoder_vectors(fit, images)
        nearest = sampling_layer(vectors, fit.codebook, tau=0.0).first
        reference = unit(images)
        cases = [("nearest", 0.0)]
        cases += [("nearest", tau) for tau in settings.taus]
        cases += [("farthest", tau) for tau in settings.taus]
        rows = []
        for favour, tau in cases:
            drawn = sampling_layer(
                vectors,
                fit.codebook,
                tau=tau,
                favour=favour,
                random_seed=derived_seed(self.random_seed, "sampling layer"),
            )
            first, second = (decode(fit, c) for c in (drawn.first, drawn.second))
            same = (drawn.first == drawn.second).reshape(len(images), -1).all(1)
            rows.append(
                {
                    "favour": favour,
                    "tau": tau,
                    "equal_codes": drawn.equal,
                    "expected_equal_codes": drawn.expected_equal,
                    "identical_images": float(same.mean()),
                    "mse": mean_squared_error(reference, first).mean(),
                    "mse_second": mean_squared_error(reference, second).mean(),
                    "mse_between": mean_squared_error(first, second).mean(),
                    "nearest_codes": float(np.mean(drawn.first == nearest)),
                    "perplexity": usage(drawn.first, fit.n_codes)["perplexity"],
                }
            )
            shown = self.shown[self.shown < len(images)]
            self.pictures.layer[favour, tau] = first[shown].copy()
        return {
            "sampling_layer": {
                "n_images": len(images),
                "shown_tau": settings.shown_tau,
                "model_codes_nearest": float(
                    np.mean(self.test_codes[: len(images)] == nearest)
                ),
                "squared_distances": mean_distances(vectors, fit.codebook),
                "draws": rows,
            }
        }

    def canvas(self):
        """Whether the canvas that sampling starts from has an influence."""
        n = self.settings.n_canvas
        equal = {
            kind: canvas_influence(
                prior,
                self.train_codes,
                n,
                random_seed=derived_seed(self.random_seed, "canvas check"),
            )
            for kind, prior in self.models.priors.items()
        }
        return {"canvas": {"n_images": n, "equal_codes": equal}}

    def temperatures(self):
        """The gated prior between argmax and sampling."""
        prior, n = self.models.priors["gated"], self.settings.n_temperature_samples
        rows = []
        for temperature in (0.0, *self.settings.temperatures, 1.0):
            codes = prior.sample(
                n if temperature else self.settings.n_argmax,
                temperature=temperature,
                random_seed=derived_seed(self.random_seed, "temperatures"),
            )
            arm = arms_module.Arm("gated", decode(self.models.vqvae, codes), codes)
            bits = rate(prior, codes[: self.settings.n_rated])["bits_per_image"]
            rows.append(
                {
                    "temperature": temperature,
                    "bits_per_image": bits,
                    **self.ruler.measure(arm),
                }
            )
            self.pictures.temperatures[temperature] = arm.images[:N_SHOWN].copy()
        return {"temperatures": rows}

    def gaussian_vae(self):
        """What the latents of the Gaussian VAE carry."""
        images = unit(self.data.test_images)
        found = gaussian.posterior_usage(self.models.gaussian_vae, images)
        kl = np.sort(found.kl.ravel())[::-1]
        variance = self.models.gaussian_vae.pixel_variance
        return {
            "gaussian_vae": {
                "n_latents": found.n_latents,
                "n_active": found.n_active,
                "n_below_0.01_nats": int((kl < 0.01).sum()),
                "pixel_variance": variance,
                "mse": found.mse,
                "bits_per_image": found.bits_per_image,
                "kl_per_latent": {**summary(kl), "sorted": kl.tolist()},
            }
        }

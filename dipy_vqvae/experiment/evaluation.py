"""From trained models to numbers, and to images for the figures."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dipy_vqvae.experiment import gaussian_vae as gaussian
from dipy_vqvae.experiment.arms import LABELS, Arm, canvas_influence, decode, make_arms
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
from dipy_vqvae.experiment.settings import N_TRAIN_RATED, derived_seed
from dipy_vqvae.metrics import mean_squared_error

# Images of an arm in the figures, and in the large one of generated digits.
N_SHOWN = 12
N_GENERATED = 200


@dataclass
class Pictures:
    """Images (n, H, W) in the figures, a few of each kind."""

    arms: dict = field(default_factory=dict)  # by key of the arm
    generated: np.ndarray | None = None
    layer: dict = field(default_factory=dict)  # by (favoured code, tau)
    temperatures: dict = field(default_factory=dict)  # by temperature
    samples: np.ndarray | None = None
    neighbours: np.ndarray | None = None  # training images nearest to the samples
    codes: dict = field(default_factory=dict)  # (n, *grid), by key of the arm
    codebook: np.ndarray | None = None  # (K, D)


class Evaluation:
    """Evaluate trained models on the test images.

    Each method returns a part of the results, and keeps images in `pictures`.
    """

    def __init__(self, data, models, settings, *, random_seed, verbose=False):
        self.data = data
        self.models = models
        self.settings = settings
        self.random_seed = random_seed
        self.verbose = verbose
        self.shown = one_of_each(data.test_labels[: settings.n_images], N_SHOWN)
        self.pictures = Pictures(codebook=models.vqvae.codebook)

    @cached_property
    def ruler(self):
        """Return the measures of images relative to the test images."""
        return Ruler(unit(self.data.test_images))

    def _bits(self, kind, codes):
        return rate(self.models.priors[kind], codes)["bits_per_image"]

    def _seed(self, purpose):
        return derived_seed(self.random_seed, purpose)

    def reconstruction(self):
        """Measure the reconstructed test images and the code usage."""
        fit, data, models = self.models.vqvae, self.data, self.models
        variance = float(np.var(data.train_images, dtype=np.float64)) / 255**2
        quality = reconstruction_quality(
            unit(data.test_images), decode(fit, models.test_codes), variance=variance
        )
        images = decode(fit, models.train_codes[:N_TRAIN_RATED])
        errors = mean_squared_error(unit(data.train_images[:N_TRAIN_RATED]), images)
        quality["train_mse"] = float(errors.mean())
        quality["variance"] = variance
        codes = {
            "n_codes": fit.n_codes,
            "grid_shape": list(fit.latent_shape),
            "train": usage(models.train_codes, fit.n_codes),
            "test": usage(models.test_codes, fit.n_codes),
        }
        return {"reconstruction": quality, "codes": codes}

    def priors(self):
        """Measure code lengths under the priors, and of independent codes."""
        train, test = self.models.train_codes, self.models.test_codes
        bits = {
            kind: {
                "train": rate(prior, train[:N_TRAIN_RATED]),
                "test": rate(prior, test),
            }
            for kind, prior in self.models.priors.items()
        }
        independent = independent_bits(train, test, self.models.vqvae.n_codes)
        return {"priors": bits, "independent_bits": independent}

    def rate_distortion(self):
        """Encode the same images at several rate weights."""
        fit = self.models.vqvae
        images = self.data.test_images[: self.settings.n_rated]
        # Without a rate network there is a single point.
        factors = self.settings.price_factors if fit.config.rate_weight else (0.0,)
        curve = []
        for factor in factors:
            codes = codes_at_price(fit, images, factor)
            mse = mean_squared_error(unit(images), decode(fit, codes)).mean()
            bits = self._bits("gated", codes)
            curve.append({"price": factor, "mse": mse, "bits_per_image": bits})
        return {"rate_distortion": curve}

    def arms(self):
        """Make and measure the arms."""
        reference = unit(self.data.test_images[: self.settings.n_images])
        rows, memorisation = [], None
        for arm in make_arms(
            self.data,
            self.models,
            self.settings,
            random_seed=self.random_seed,
            verbose=self.verbose,
        ):
            label = LABELS[arm.key]
            row = {"key": arm.key, "number": label.number, **self.ruler.measure(arm)}
            row["mse"] = row["bits_per_image"] = None
            if label.from_images and arm.key != "test":
                row["mse"] = mean_squared_error(reference, arm.images).mean()
            if arm.codes is not None:
                codes = arm.codes[: self.settings.n_rated]
                row["bits_per_image"] = {
                    kind: self._bits(kind, codes) for kind in self.models.priors
                }
            rows.append(row)
            self._keep(arm, label)
            if arm.key == "gated":
                memorisation = self._memorisation(arm)
        test_images, labels = unit(self.data.test_images), self.data.test_labels
        return {
            "arms": rows,
            "classifier_accuracy": {"test": self.ruler.accuracy(test_images, labels)},
            "memorisation": memorisation,
        }

    def _keep(self, arm, label):
        shown = self.shown if label.from_images else slice(0, N_SHOWN)
        self.pictures.arms[arm.key] = arm.images[shown].copy()
        if arm.key in ("reconstruction", "gated"):
            self.pictures.codes[arm.key] = arm.codes[shown].copy()
        if arm.key == "gated":
            self.pictures.generated = arm.images[:N_GENERATED].copy()

    def _memorisation(self, arm):
        """Compare samples with the training images, beside unseen test images."""
        n, training = self.settings.n_neighbours, self.data.train_images
        train_codes, test_codes = self.models.train_codes, self.models.test_codes
        samples = arm.images[:n]
        nearest = neighbour_distances(samples, training)
        # Decoded images are smoother than real ones and so nearer to all images:
        # the comparison is with reconstructed test images.
        unseen = neighbour_distances(
            decode(self.models.vqvae, test_codes[:n]), training
        )
        self.pictures.samples = samples[:N_SHOWN].copy()
        self.pictures.neighbours = unit(training[nearest.index[:N_SHOWN]])
        return {
            "n_images": len(samples),
            "samples": summary(nearest.distance),
            "reconstructed_test_images": summary(unseen.distance),
            "copied_codes": {
                "samples": share_of_copies(arm.codes, train_codes),
                "test_images": share_of_copies(test_codes, train_codes),
            },
        }

    def layer(self):
        """Draw from the sampling layer at several temperatures, with both signs."""
        fit, settings = self.models.vqvae, self.settings
        images = self.data.test_images[: settings.n_layer_images]
        vectors = encoder_vectors(fit, images)
        nearest = sampling_layer(vectors, fit.codebook, tau=0.0).first
        chosen = self.models.test_codes[: len(images)]
        cases = [("nearest", 0.0)]
        cases += [("nearest", tau) for tau in settings.taus]
        cases += [("farthest", tau) for tau in settings.taus]
        layer = {
            "n_images": len(images),
            "shown_tau": settings.shown_tau,
            "model_codes_nearest": float(np.mean(chosen == nearest)),
            "squared_distances": mean_distances(vectors, fit.codebook),
            "draws": [
                self._layer_row(favour, tau, images, vectors, nearest)
                for favour, tau in cases
            ],
        }
        return {"sampling_layer": layer}

    def _layer_row(self, favour, tau, images, vectors, nearest):
        fit, reference = self.models.vqvae, unit(images)
        seed = self._seed("sampling layer")
        drawn = sampling_layer(
            vectors, fit.codebook, tau=tau, favour=favour, random_seed=seed
        )
        first, second = decode(fit, drawn.first), decode(fit, drawn.second)
        same = (drawn.first == drawn.second).reshape(len(images), -1).all(1)
        shown = self.shown[self.shown < len(images)]
        self.pictures.layer[favour, tau] = first[shown].copy()
        return {
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

    def canvas(self):
        """Compare samples from several initial canvases."""
        n, codes = self.settings.n_canvas, self.models.train_codes
        seed = self._seed("canvas check")
        equal = {
            kind: canvas_influence(prior, codes, n, random_seed=seed)
            for kind, prior in self.models.priors.items()
        }
        return {"canvas": {"n_images": n, "equal_codes": equal}}

    def temperatures(self):
        """Sample the gated prior at several temperatures, from argmax on."""
        prior, settings = self.models.priors["gated"], self.settings
        rows = []
        for temperature in (0.0, *settings.temperatures, 1.0):
            codes = prior.sample(
                settings.n_temperature_samples if temperature else settings.n_argmax,
                temperature=temperature,
                random_seed=self._seed("temperatures"),
            )
            images = decode(self.models.vqvae, codes)
            bits = self._bits("gated", codes[: settings.n_rated])
            measures = self.ruler.measure(Arm("gated", images, codes))
            rows.append(
                {"temperature": temperature, "bits_per_image": bits, **measures}
            )
            self.pictures.temperatures[temperature] = images[:N_SHOWN].copy()
        return {"temperatures": rows}

    def gaussian_vae(self):
        """Measure what the latents of the Gaussian VAE carry."""
        vae = self.models.gaussian_vae
        posterior = gaussian.posterior_usage(vae, unit(self.data.test_images))
        kl = np.sort(posterior.kl.ravel())[::-1]
        return {
            "gaussian_vae": {
                "n_latents": posterior.n_latents,
                "n_active": posterior.n_active,
                "n_below_0.01_nats": int((kl < 0.01).sum()),
                "pixel_variance": vae.pixel_variance,
                "mse": posterior.mse,
                "bits_per_image": posterior.bits_per_image,
                "kl_per_latent": {**summary(kl), "sorted": kl.tolist()},
            }
        }

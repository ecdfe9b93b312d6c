"""A calibrated anomaly detector."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dipy_vqvae.anomaly.calibration import benjamini_hochberg, conformal_p
from dipy_vqvae.anomaly.files import load_detector, save_detector
from dipy_vqvae.anomaly.null import largest_cluster, maxima_of_images
from dipy_vqvae.anomaly.score import combine, standardise
from dipy_vqvae.anomaly.subjects import SubjectImages
from dipy_vqvae.settings import check_number

ERRORS = ("fwe", "fdr", "fpr")


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of subjects and of their images, and their p-values among the healthy ones.

    Attributes
    ----------
    z, p : array, shape (n,), float64
        Surprisal of each subject, and its p-value.
    maximum, p_maximum : array, shape (n,), float64
        Largest value of the map of each subject, in standard deviations.
    cluster, p_cluster : array, shape (n,), float64
        Voxels of the largest cluster, of values that 1 % of a healthy subject's voxels
        reach.
    image_z, image_p : list of array, shape (N,), float64
        Surprisal of each image of each subject, and its p-value among all healthy images.
        NaN where nothing is inside.
    image_maximum, image_p_maximum : list of array, shape (N,), float64
        Largest value of the map of each image.
    """

    z: np.ndarray
    p: np.ndarray
    maximum: np.ndarray
    p_maximum: np.ndarray
    cluster: np.ndarray
    p_cluster: np.ndarray
    image_z: list
    image_p: list
    image_maximum: list
    image_p_maximum: list


@dataclass(frozen=True, eq=False)
class Restoration:
    """What images would be if they were like the training images.

    Attributes
    ----------
    mean, deviation : array as the images, or list of them, float32
        Over the draws, in the units of the images. Zero outside the mask.
    """

    mean: np.ndarray
    deviation: np.ndarray


def subject_z(image_z):
    """Combine the surprisal of a subject's images, without those that have none."""
    known = image_z[np.isfinite(image_z)]
    return known.sum() / np.sqrt(max(1, len(known)))


class AnomalyFit:
    """A calibrated anomaly detector :footcite:p:`NavalMarimont2021`.

    Made by :meth:`AnomalyModel.fit` or :meth:`load`. All methods take images, `mask`,
    `subjects`, `labels` and `covariates` as :meth:`AnomalyModel.fit` does.

    Parameters
    ----------
    maker : MapMaker
        Both networks, and what the maps are made with.
    score, tail : str
        As for :class:`AnomalyModel`.
    places : dict of Places
        Mean and deviation of healthy maps at each place, by the name of the map: of
        those that the score needs.
    scale : float
        Standard deviation of healthy subjects' combined maps.
    null : Null
        Values of healthy subjects.

    References
    ----------
    .. footbibliography::
    """

    #: Class of the model; the module of the model sets it.
    MODEL = None

    def __init__(self, maker, *, score, tail, places, scale, null):
        self.maker = maker
        self.score = score
        self.tail = tail
        self.places = places
        self.scale = scale
        self.null = null

    def __repr__(self):
        return (
            f"<AnomalyFit: score={self.score!r}, tail={self.tail!r}, "
            f"{self.null.n_subjects} healthy subjects>"
        )

    @property
    def model(self):
        """The model that was fitted: both networks, and the settings of the file."""
        maker = self.maker
        return self.MODEL(
            maker.vqvae,
            maker.prior,
            n_restorations=maker.n_restorations,
            score=self.score,
            tail=self.tail,
            smoothing=maker.smoothing,
            random_seed=maker.random_seed,
        )

    def save(self, path):
        """Write one file that holds all that detection needs (safetensors).

        Parameters
        ----------
        path : str or Path
            The file; it is complete or absent.

        Raises
        ------
        OSError
            If it cannot be written; an existing file is left as it was.
        """
        save_detector(path, self)

    @classmethod
    def load(cls, path, *, use_cuda=False):
        """Read a file written by :meth:`save`.

        Parameters
        ----------
        path : str or Path
            The file.
        use_cuda : bool, optional
            Use a GPU. Without one there is a warning and the CPU is used.

        Returns
        -------
        fit : AnomalyFit

        Raises
        ------
        ValueError
            For a file that is damaged, of another kind or of a newer version.
        OSError
            For a file that cannot be read.
        """
        return cls(**load_detector(path, use_cuda=use_cuda))

    def scored(self, images, **options):
        """Yield a `Scored` for each subject, one at a time.

        Parameters
        ----------
        images : array, list of arrays, or ImageCollection
            The images.
        **options
            `mask`, `subjects`, `labels` and `covariates`.

        Yields
        ------
        scored : Scored
        """
        yield from self._scored(self._subjects(images, **options))

    def scores(self, images, *, mask=None, subjects=None, labels=None, covariates=None):
        """Score subjects and images: surprisal, largest value and cluster, p-values.

        Parameters
        ----------
        images, mask, subjects, labels, covariates
            As for :meth:`AnomalyModel.fit`.

        Returns
        -------
        scores : Scores
        """
        return self.scores_of(
            scored.summary
            for scored in self.scored(
                images,
                mask=mask,
                subjects=subjects,
                labels=labels,
                covariates=covariates,
            )
        )

    def scores_of(self, summaries):
        """Return the scores of subjects from their summaries.

        Parameters
        ----------
        summaries : iterable of Summary
            See `Scored.summary`.

        Returns
        -------
        scores : Scores
        """
        summaries = list(summaries)
        null = self.null
        z, maximum, cluster = (
            np.array([getattr(summary, name) for summary in summaries])
            for name in ("z", "maximum", "cluster")
        )
        image_z = [summary.image_z for summary in summaries]
        image_maximum = [summary.image_maximum for summary in summaries]
        return Scores(
            z=z,
            p=conformal_p(z, null.z),
            maximum=maximum,
            p_maximum=conformal_p(maximum, null.maxima),
            cluster=cluster,
            p_cluster=conformal_p(cluster, null.clusters),
            image_z=image_z,
            image_p=[conformal_p(own, null.image_z) for own in image_z],
            image_maximum=image_maximum,
            image_p_maximum=[
                conformal_p(own, null.image_maxima) for own in image_maximum
            ],
        )

    def score_map(
        self, images, *, mask=None, subjects=None, labels=None, covariates=None
    ):
        """Return signed scores, in standard deviations of healthy subjects.

        Parameters
        ----------
        images, mask, subjects, labels, covariates
            As for :meth:`AnomalyModel.fit`.

        Returns
        -------
        z : array as the images without channels, or list of them, float32
            Negative where the image is darker than expected, zero outside the mask. With a
            one-sided `tail`, negative where it differs in the other direction.
        """
        return self._maps(images, lambda s: s.z, mask, subjects, labels, covariates)

    def p_map(self, images, *, mask=None, subjects=None, labels=None, covariates=None):
        """Return ``-log10 p``, p as the share of a healthy subject's voxels.

        Parameters
        ----------
        images, mask, subjects, labels, covariates
            As for :meth:`AnomalyModel.fit`.

        Returns
        -------
        log10p : array as the images without channels, or list of them, float32
            In [0, 5], zero outside the mask.
        """
        return self._maps(images, self.log10p_of, mask, subjects, labels, covariates)

    def lesions(
        self,
        images,
        *,
        mask=None,
        alpha=0.05,
        error="fwe",
        subjects=None,
        labels=None,
        covariates=None,
    ):
        """Tell which voxels are unlike those of healthy subjects, at a rate of errors.

        Parameters
        ----------
        images, mask, subjects, labels, covariates
            As for :meth:`AnomalyModel.fit`.
        alpha : float, optional
            Rate of errors, in (0, 1).
        error : {"fwe", "fdr", "fpr"}, optional
            What the rate is of: healthy subjects with any voxel (fwe)
            :footcite:p:`Nichols2002`, false ones among the voxels of a subject that are
            found (fdr) :footcite:p:`Benjamini1995`, voxels of healthy subjects (fpr).

        Returns
        -------
        lesions : bool array as the images without channels, or list of them

        Raises
        ------
        ValueError
            If `alpha` is not between 0 and 1, or if there are too few healthy subjects to
            tell such a rate.

        References
        ----------
        .. footbibliography::
        """
        select = self.selection(alpha, error)
        return self._maps(images, select, mask, subjects, labels, covariates)

    def selection(self, alpha, error):
        """Return the function from a `Scored` to the voxels that are unlike healthy ones.

        Parameters
        ----------
        alpha : float
        error : {"fwe", "fdr", "fpr"}
            As for :meth:`lesions`.

        Returns
        -------
        select : callable
        """
        if not 0 < check_number("alpha", alpha, at_least=0, at_most=1) < 1:
            raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
        if error not in ERRORS:
            raise ValueError(f"error must be one of {', '.join(ERRORS)}, got {error!r}")
        if error == "fdr":

            def select(scored):
                found = np.zeros(scored.size.shape, bool)
                p = self.null.p(scored.size[scored.inside])
                found[scored.inside] = benjamini_hochberg(p, alpha)
                return found

            return select
        threshold = (
            self.null.family_threshold(alpha)
            if error == "fwe"
            else self.null.rate_threshold(alpha)
        )
        return lambda scored: (scored.size > threshold) & scored.inside

    def restore(
        self,
        images,
        *,
        n=None,
        mask=None,
        subjects=None,
        labels=None,
        covariates=None,
    ):
        """Return what images would be if they were like the training images.

        Parameters
        ----------
        images, mask, subjects, labels, covariates
            As for :meth:`AnomalyModel.fit`.
        n : int, optional
            Number of draws; by default that of the model.

        Returns
        -------
        restoration : Restoration
        """
        maker = self.maker
        if n is not None:
            n = check_number("n", n, at_least=1, whole=True)
            maker = replace(maker, n_restorations=n)
        parts = self._subjects(
            images, mask=mask, subjects=subjects, labels=labels, covariates=covariates
        )
        made = [maker.maps(part, names=()) for part in parts]
        restored = [(maps.restore(), maps.inside[..., np.newaxis]) for maps in made]
        n_channels = parts.subjects.n_channels
        return Restoration(
            *(
                parts.give_back(
                    [getattr(images, name) * inside for images, inside in restored],
                    channels=n_channels,
                )
                for name in ("mean", "deviation")
            )
        )

    def log10p_of(self, scored):
        """Return ``-log10 p`` of a `Scored`, zero outside.

        Parameters
        ----------
        scored : Scored

        Returns
        -------
        log10p : array, shape (n, *image), float32
        """
        log10p = -np.log10(self.null.p(scored.size))
        return np.where(scored.inside, log10p, 0).astype(np.float32)

    def _subjects(
        self, images, *, mask=None, subjects=None, labels=None, covariates=None
    ):
        return SubjectImages(
            images,
            mask,
            subjects,
            self.maker.vqvae,
            self.maker.prior,
            labels,
            covariates,
        )

    def score_of(self, maps):
        """Return the `Scored` of a subject whose maps are made, see `MapMaker`.

        Parameters
        ----------
        maps : Maps

        Returns
        -------
        scored : Scored
        """
        values = standardise(maps.values, self.places, maps.places)
        size, sign = combine(values, score=self.score, tail=self.tail)
        return Scored(
            size=size / np.float32(self.scale),
            sign=sign,
            inside=maps.inside,
            image_z=maps.z,
            restore=maps.restore,
            threshold=self.null.cluster_threshold,
        )

    def _scored(self, parts):
        for part in parts:
            yield self.score_of(self.maker.maps(part, names=self.places))

    def _maps(self, images, make, mask, subjects, labels, covariates):
        """Return what `make` makes of each `Scored`, with the axes of the images."""
        parts = self._subjects(
            images, mask=mask, subjects=subjects, labels=labels, covariates=covariates
        )
        return parts.give_back([make(scored) for scored in self._scored(parts)])


@dataclass(frozen=True, eq=False)
class Summary:
    """Scores of one subject, see `Scores`."""

    z: float
    maximum: float
    cluster: float
    image_z: np.ndarray
    image_maximum: np.ndarray


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of one subject's voxels.

    Attributes
    ----------
    size : array, shape (n, *image), float32
        Large values are unlike healthy ones.
    sign : array, shape (n, *image), float32
        -1 where the image is darker than expected, else 1.
    inside : array, shape (n, *image), bool
    image_z : array, shape (n,), float64
    restore : callable
        Returns the `Restored` images; they are made once.
    threshold : float
        Of clusters.
    """

    size: np.ndarray
    sign: np.ndarray
    inside: np.ndarray
    image_z: np.ndarray
    restore: Callable
    threshold: float

    @property
    def z(self):
        """Signed scores, zero outside."""
        return np.where(self.inside, self.size * self.sign, 0).astype(np.float32)

    @property
    def summary(self):
        """The scores of the subject and of its images."""
        return Summary(
            z=subject_z(self.image_z),
            maximum=float(self.size[self.inside].max()),
            cluster=largest_cluster(self.size, self.inside, self.threshold),
            image_z=self.image_z,
            image_maximum=maxima_of_images(self.size, self.inside),
        )

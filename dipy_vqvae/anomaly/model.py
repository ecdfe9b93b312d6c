"""The settings of an anomaly detector, and its calibration on healthy subjects."""

from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from dipy_vqvae.anomaly.fit import AnomalyFit, subject_z
from dipy_vqvae.anomaly.maps import MapMaker
from dipy_vqvae.anomaly.null import null_of
from dipy_vqvae.anomaly.place import coordinates, place_sums, places_of
from dipy_vqvae.anomaly.score import combine, standardise
from dipy_vqvae.anomaly.subjects import SubjectImages
from dipy_vqvae.settings import ANOMALY, SCORE, seed_of, with_settings
from dipy_vqvae.vqvae import check_pair

# With fewer healthy subjects no rate of errors below 1 / 6 could be told.
FEWEST_SUBJECTS = 5


@with_settings(ANOMALY)
class AnomalyModel:
    """Find what in an image is unlike the training images, with known rates of errors.

    Four maps are made of an image: its intensity, how much that varies nearby, its
    difference to what it would be if unlikely codes were drawn anew
    :footcite:p:`NavalMarimont2021`, and the surprisal of its codes. Healthy subjects say
    what is usual at each place, and how often a value is reached without any lesion.
    Nothing here is for clinical use.

    Parameters
    ----------
    vqvae : VQVAEFit
        Fit to images of healthy subjects.
    prior : PixelCNNFit
        Fit to their codes, best with ``both_directions`` and, for slices, with the
        covariate ``slice_position``.
    {settings}

    Examples
    --------
    >>> import numpy as np
    >>> import dipy_vqvae as dv
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(100, 5, (60, 16, 16))
    >>> vqvae = dv.VQVAEModel(8, n_channels=8, n_blocks=1).fit(images, n_epochs=1)
    >>> codes = vqvae.encode(images)
    >>> prior = dv.PixelCNNModel(8, n_channels=8, n_layers=2).fit(codes, n_epochs=1)
    >>> detector = dv.AnomalyModel(vqvae, prior, n_restorations=2)
    >>> fit = detector.fit(rng.normal(100, 5, (19, 16, 16)))
    >>> fit.score_map(images[:2]).shape
    (2, 16, 16)
    >>> fit.scores(images[:2]).p.shape
    (2,)

    References
    ----------
    .. footbibliography::
    """

    def __init__(self, vqvae, prior, **settings):
        self.vqvae = vqvae
        self.prior = prior
        for name, default in ANOMALY.defaults.items():
            setattr(self, name, settings.get(name, default))
        if isinstance(self.random_seed, np.random.Generator):
            # Drawn once: the maps of all subjects are made with one seed.
            self.random_seed = seed_of(self.random_seed)

    def fit(
        self,
        healthy,
        *,
        mask=None,
        subjects=None,
        labels=None,
        covariates=None,
        verbose=False,
    ):
        """Calibrate on healthy subjects that neither network has seen.

        Parameters
        ----------
        healthy : array, list of arrays, or ImageCollection
            Images, as for :meth:`VQVAEFit.encode`. An entry of a list or a file is a
            subject; of an array each image is one, unless `subjects` says otherwise.
        mask : array or list, optional
            Nonzero inside; only voxels inside count. A mask of the brain matters more
            than any setting.
        subjects : array_like, shape (N,), optional
            The subject of each image of an array; the slices of one in their order.
        labels, covariates : optional
            Conditions of the prior for each image, as for :meth:`PixelCNNFit.log_prob`.
            The position of slices is known where the slices of a subject are.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        fit : AnomalyFit

        Raises
        ------
        ValueError
            For fewer than five subjects, for subjects that the VQ-VAE was trained on, a
            prior of another VQ-VAE, or images or settings that cannot be used.
        """
        settings = ANOMALY.check({name: getattr(self, name) for name in ANOMALY})
        check_pair(self.vqvae, self.prior)
        images = SubjectImages(
            healthy, mask, subjects, self.vqvae, self.prior, labels, covariates
        )
        if len(images) < FEWEST_SUBJECTS:
            raise ValueError(
                f"{len(images)} healthy subjects are too few to tell any rate of errors "
                f"below 1/{len(images) + 1}: at least {FEWEST_SUBJECTS} are needed"
            )
        images.check_not_trained_on(self.vqvae)
        score, tail = settings.pop("score"), settings.pop("tail")
        maker = MapMaker(self.vqvae, self.prior, **settings)
        healthy = []
        for part in tqdm(images, desc="healthy subjects", disable=not verbose):
            maps = maker.maps(part, names=SCORE.of(score))
            healthy.append(_Healthy(maps.z, maps.values, maps.inside))
        return calibrated(maker, healthy, score=score, tail=tail)


AnomalyFit.MODEL = AnomalyModel


@dataclass(frozen=True, eq=False)
class _Healthy:
    """What is kept of a healthy subject: not the restored images, which are large."""

    z: np.ndarray
    values: dict
    inside: np.ndarray


def calibrated(maker, healthy, *, score, tail):
    """Return a detector whose maps are standardised by healthy subjects' `Maps`.

    For the error rates, each of them is standardised by the others, as a new subject is.
    """
    d, names = maker.vqvae.spatial_dims, SCORE.of(score)
    places = [coordinates(subject.inside) for subject in healthy]
    sums = {
        name: np.stack(
            [
                place_sums(subject.values[name], subject.inside, own, d)
                for subject, own in zip(healthy, places)
            ]
        )
        for name in names
    }
    total = {name: of_map.sum(0) for name, of_map in sums.items()}
    sizes = []
    for i, subject in enumerate(healthy):
        others = {name: places_of(total[name] - sums[name][i]) for name in names}
        values = standardise(subject.values, others, places[i])
        sizes.append(combine(values, score=score, tail=tail)[0])
    squares = [np.mean(s[h.inside] ** 2) for s, h in zip(sizes, healthy)]
    scale = float(np.sqrt(np.mean(squares)))
    null = null_of(
        [size / scale for size in sizes],
        [subject.inside for subject in healthy],
        z=np.array([subject_z(subject.z) for subject in healthy]),
        image_z=np.concatenate([subject.z for subject in healthy]),
    )
    return AnomalyFit(
        maker,
        score=score,
        tail=tail,
        places={name: places_of(total[name]) for name in names},
        scale=scale,
        null=null,
    )

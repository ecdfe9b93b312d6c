"""Similarity and diversity of sets of images."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from dipy_vqvae.arrays import as_array

# Temporaries of the blockwise functions hold about this many numbers at most.
_BLOCK = 1 << 22


def frechet_distance(features_a, features_b):
    r"""Compute the Fréchet distance between Gaussians fitted to two sets of features.

    .. math:: |\mu_a - \mu_b|^2
              + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})

    with the sample means and covariances :footcite:p:`Heusel2017`; zero for equal
    sets. It depends on the features and, for few images, on their number: compare
    only sets of the same size in the same features.

    Parameters
    ----------
    features_a, features_b : array (N, D), (M, D)
        One row per image, at least two rows each.

    Returns
    -------
    distance : float

    Raises
    ------
    ValueError
        If the arrays are not two sets of rows of the same length.

    References
    ----------
    .. footbibliography::
    """
    a = _checked_features(features_a, "features_a")
    b = _checked_features(features_b, "features_b")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"features have {a.shape[1]} and {b.shape[1]} columns; they must agree"
        )
    cov_a = np.atleast_2d(np.cov(a, rowvar=False))
    cov_b = np.atleast_2d(np.cov(b, rowvar=False))
    # tr (AB)^1/2 = tr (A^1/2 B A^1/2)^1/2, which is symmetric: no complex roots where
    # the covariances are singular, as they are for identical images.
    values, vectors = np.linalg.eigh(cov_a)
    root_a = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    product = root_a @ cov_b @ root_a
    root_trace = np.sqrt(
        np.linalg.eigvalsh((product + product.T) / 2).clip(min=0)
    ).sum()
    apart = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return float(max(apart + np.trace(cov_a) + np.trace(cov_b) - 2 * root_trace, 0.0))


def n_distinct(images):
    """Count the different images, or the different grids of codes.

    Parameters
    ----------
    images : array (N, ...)
        Two rows are the same if all their bits are.

    Returns
    -------
    n_distinct : int

    Examples
    --------
    >>> n_distinct([[0, 1], [1, 0], [0, 1]])
    2
    """
    # Digests instead of rows save memory; two collide with a probability of 2^-128.
    return len(
        {
            blake2b(np.ascontiguousarray(row), digest_size=16).digest()
            for row in as_array(images, "images")
        }
    )


def mean_pairwise_distance(images, *, n_pairs=10_000, random_seed=0):
    """Compute the mean Euclidean distance between two images of a set.

    It measures diversity and is zero if all images are the same.

    Parameters
    ----------
    images : array (N, ...)
        At least two images; an image is one vector of all its values.
    n_pairs : int, optional
        Number of pairs to draw; all pairs if there are no more than that.
    random_seed : int or numpy.random.Generator, optional
        Seed of the draw.

    Returns
    -------
    distance : float
        Divide by the square root of the number of pixels for the
        root-mean-square difference per pixel.

    Raises
    ------
    ValueError
        If there are fewer than two images or fewer than one pair.
    """
    images = as_array(images, "images")
    n = len(images)
    if n < 2:
        raise ValueError(f"a pair needs two images, got {n}")
    if n_pairs < 1:
        raise ValueError(f"n_pairs must be at least 1, got {n_pairs}")
    rows = images.reshape(n, -1)
    if n * (n - 1) // 2 <= n_pairs:
        first, second = np.triu_indices(n, k=1)
    else:
        rng = np.random.default_rng(random_seed)
        first = rng.integers(n, size=n_pairs)
        # Uniform over the n - 1 others.
        second = (first + rng.integers(1, n, size=n_pairs)) % n
    total = 0.0
    for part in blocks(len(first), rows.shape[1]):
        total += _row_distances(rows[first[part]], rows[second[part]]).sum()
    return float(total / len(first))


@dataclass(frozen=True, eq=False)
class NearestNeighbours:
    """The training image nearest to each sample.

    Attributes
    ----------
    distance : array (N,), float64
        Euclidean distance over all values of an image.
    index : array (N,), int64
        Index of the nearest training image.
    """

    distance: np.ndarray
    index: np.ndarray


def nearest_neighbour_distance(samples, training):
    """Find the nearest training image of each sample.

    Samples that are copies of training images have a distance near zero.
    Compare with the distances of held-out real images.

    Parameters
    ----------
    samples : array (N, ...)
        Generated images.
    training : array (M, ...)
        Training images of the same shape and units.

    Returns
    -------
    neighbours : NearestNeighbours

    Raises
    ------
    ValueError
        If there are no training images or the shapes do not agree.

    Notes
    -----
    The search expands ``|s - t|^2 = |s|^2 + |t|^2 - 2 s.t`` in single precision
    (one matrix product); the distance to the nearest image is then computed from
    the difference in double precision, so that a copy has exactly zero. Where
    several training images are equally near within about 1e-3 of the images'
    norm, any of them may be the one reported.
    """
    samples = as_array(samples, "samples")
    training = as_array(training, "training")
    if len(training) == 0:
        raise ValueError("there are no training images to compare with")
    if samples.shape[1:] != training.shape[1:]:
        raise ValueError(
            f"samples of shape {samples.shape[1:]} cannot be compared with training "
            f"images of shape {training.shape[1:]}"
        )
    samples = samples.reshape(len(samples), training[0].size)
    training = training.reshape(len(training), -1)
    # Subtracting the mean reduces the cancellation in the expanded square.
    centre = training.mean(axis=0, dtype=np.float64)
    queries = (samples - centre).astype(np.float32)
    best = np.full(len(samples), np.inf, dtype=np.float32)
    index = np.zeros(len(samples), dtype=np.int64)
    width = training.shape[1]
    for part in blocks(len(training), width):
        keys = (training[part] - centre).astype(np.float32)
        norms = np.einsum("ij,ij->i", keys, keys)
        for rows in blocks(len(samples), len(keys)):
            # |s|^2 is the same for all keys and left out.
            score = norms - 2 * (queries[rows] @ keys.T)
            nearest = score.argmin(axis=1)
            value = np.take_along_axis(score, nearest[:, None], axis=1)[:, 0]
            better = value < best[rows]
            best[rows] = np.where(better, value, best[rows])
            index[rows] = np.where(better, nearest + part.start, index[rows])
    distance = np.empty(len(samples))
    for rows in blocks(len(samples), width):
        distance[rows] = _row_distances(samples[rows], training[index[rows]])
    return NearestNeighbours(distance=distance, index=index)


def _row_distances(a, b):
    # (n, D), (n, D) -> (n,); in double precision, as bytes would wrap around.
    difference = a.astype(np.float64) - b
    return np.sqrt(np.einsum("ij,ij->i", difference, difference))


def blocks(n, width):
    """Cut range(n) into slices of a bounded number of values."""
    step = max(1, _BLOCK // max(1, width))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _checked_features(features, name):
    features = as_array(features, name).astype(np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"{name} must have shape (number of images, at least 2; number of "
            f"features), got {features.shape}"
        )
    if not np.isfinite(features).all():
        raise ValueError(f"{name} contain NaN or infinity")
    return features

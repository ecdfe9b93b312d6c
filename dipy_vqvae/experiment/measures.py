"""What the arms are measured by."""

import math

import numpy as np

from dipy_vqvae.experiment import classifier as digit_classifier
from dipy_vqvae.metrics import (
    code_usage,
    frechet_distance,
    mean_pairwise_distance,
    mean_squared_error,
    n_distinct,
    nearest_neighbour_distance,
    psnr,
    ssim,
)

N_CLASSES = 10


class Ruler:
    """Measures images in the eyes of the digit classifier.

    Parameters
    ----------
    reference : array (N, 28, 28), float32
        The test images, pixels in [0, 1].
    classifier : DigitClassifier, optional
        The shipped one if not given.
    """

    def __init__(self, reference, classifier=None):
        if classifier is None:
            classifier = digit_classifier.load_classifier()
        self.classifier = classifier
        self.reference_features = digit_classifier.features(classifier, reference)

    def accuracy(self, images, labels):
        """Fraction of the images whose digit the classifier finds."""
        found = digit_classifier.probabilities(self.classifier, images).argmax(1)
        return float(np.mean(found == labels))

    def measure(self, arm):
        """Measure the images of an arm.

        Parameters
        ----------
        arm : Arm

        Returns
        -------
        measures : dict
            ``n_images``; ``n_distinct`` outputs (by their codes where they have
            any); ``mean_pairwise_distance``; ``frechet`` distance to the reference
            (None for fewer than two images); ``confidence`` of the classifier,
            mean of its largest probability; ``class_histogram`` and its
            ``class_perplexity``, 10 for balanced classes.
        """
        images = arm.images
        features = digit_classifier.features(self.classifier, images)
        p = digit_classifier.probabilities_of_features(self.classifier, features)
        histogram = np.bincount(p.argmax(1), minlength=N_CLASSES)
        several = len(images) > 1
        return {
            "n_images": len(images),
            "n_distinct": n_distinct(images if arm.codes is None else arm.codes),
            "mean_pairwise_distance": (
                mean_pairwise_distance(images) if several else None
            ),
            "frechet": (
                frechet_distance(self.reference_features, features) if several else None
            ),
            "confidence": float(p.max(1).mean()),
            "class_histogram": histogram.tolist(),
            "class_perplexity": perplexity(histogram),
        }


def perplexity(histogram):
    """Exponential of the entropy of a histogram: its effective number of classes.

    Examples
    --------
    >>> round(perplexity([5, 5, 0]), 6)
    2.0
    """
    p = np.asarray(histogram, float)
    p = p[p > 0] / p.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def reconstruction_quality(reference, images, *, variance):
    """How good reconstructions are.

    Parameters
    ----------
    reference, images : array (N, H, W)
        Pixels in [0, 1].
    variance : float
        Variance of the training images' pixels.

    Returns
    -------
    quality : dict of float
        ``mse``, ``mse_over_variance``, and the means over images of ``psnr`` (dB)
        and ``ssim``.
    """
    mse = float(mean_squared_error(reference, images).mean())
    return {
        "mse": mse,
        "mse_over_variance": mse / variance,
        "psnr": float(psnr(reference, images, data_range=1.0).mean()),
        "ssim": float(ssim(reference, images, data_range=1.0).mean()),
    }


def usage(codes, n_codes):
    """Codes used, their perplexity and histogram, as JSON can hold them."""
    found = code_usage(codes, n_codes)
    return {
        "n_used": found.n_used,
        "perplexity": found.perplexity,
        "histogram": found.histogram.tolist(),
    }


def rate(prior, codes):
    """Code length under a prior.

    Parameters
    ----------
    prior : PixelCNNFit
    codes : array (N, *grid)

    Returns
    -------
    rate : dict of float
        ``nats_per_code`` and ``bits_per_image``.
    """
    nats = -float(prior.log_prob(codes).mean())
    return {
        "nats_per_code": nats / math.prod(codes.shape[1:]),
        "bits_per_image": nats / math.log(2),
    }


def frequencies(codes, n_codes):
    """Probability of each code, estimated from counts plus one half.

    The estimate of Krichevsky and Trofimov: never zero.

    Parameters
    ----------
    codes : int array, shape (N, ...)
    n_codes : int

    Returns
    -------
    p : array (n_codes,), float64
    """
    counts = np.bincount(codes.reshape(-1), minlength=n_codes) + 0.5
    return counts / counts.sum()


def position_frequencies(codes, n_codes):
    """The same at each position: array (positions, n_codes)."""
    rows = codes.reshape(len(codes), -1)
    return np.stack([frequencies(column, n_codes) for column in rows.T])


def independent_bits(train_codes, test_codes, n_codes):
    """Bits per image when codes are coded one by one, without their context.

    Parameters
    ----------
    train_codes, test_codes : int array, shape (N, *grid), (M, *grid)
        Frequencies come from the first, code lengths are those of the second.
    n_codes : int

    Returns
    -------
    bits : dict of float
        ``uniform``, ``unigram``, ``position_unigram``: all codes equally likely,
        as frequent as in training, as frequent as there at that position.
    """
    rows = test_codes.reshape(len(test_codes), -1)
    n_positions = rows.shape[1]
    unigram = frequencies(train_codes, n_codes)[rows]
    by_position = position_frequencies(train_codes, n_codes)
    by_position = by_position[np.arange(n_positions), rows]
    return {
        "uniform": n_positions * math.log2(n_codes),
        "unigram": float(-np.log2(unigram).sum(1).mean()),
        "position_unigram": float(-np.log2(by_position).sum(1).mean()),
    }


def neighbour_distances(samples, training):
    """Distance of samples to the training image nearest to each.

    Parameters
    ----------
    samples : array (N, H, W)
        Pixels in [0, 1].
    training : array (M, H, W), uint8
        Training images.

    Returns
    -------
    neighbours : NearestNeighbours
        Distances in units of [0, 1] pixels.
    """
    found = nearest_neighbour_distance(255 * samples, training)
    return type(found)(distance=found.distance / 255, index=found.index)


def share_of_copies(codes, train_codes):
    """Fraction of grids of codes that some training image has, code for code."""
    known = {row.tobytes() for row in np.ascontiguousarray(train_codes, np.int32)}
    rows = np.ascontiguousarray(codes, np.int32)
    return float(np.mean([row.tobytes() in known for row in rows]))


def summary(values):
    """Mean, smallest and quantiles of some values."""
    values = np.asarray(values, float)
    return {
        "mean": float(values.mean()),
        "min": float(values.min()),
        "median": float(np.median(values)),
        "max": float(values.max()),
    }


def plain_numbers(value):
    """Turn nested results into what JSON can hold, with None for NaN and infinity.

    Examples
    --------
    >>> plain_numbers({"a": np.float32(0.5), "b": (float("nan"), np.int64(2))})
    {'a': 0.5, 'b': [None, 2]}
    """
    if isinstance(value, dict):
        return {str(k): plain_numbers(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain_numbers(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value

"""Measures of images and codes of the arms."""

from dataclasses import replace
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
    """Measure images by the features of a digit classifier (default: the shipped one).

    `reference` are the test images (N, 28, 28), pixels in [0, 1].
    """

    def __init__(self, reference, classifier=None):
        if classifier is None:
            classifier = digit_classifier.load_classifier()
        self.classifier = classifier
        self.reference_features = digit_classifier.features(classifier, reference)

    def accuracy(self, images, labels):
        """Compute the classifier's accuracy."""
        p = digit_classifier.probabilities(self.classifier, images)
        return float(np.mean(p.argmax(1) == labels))

    def measure(self, arm):
        """Measure the images of an arm."""
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
    """Compute the effective number of classes: the exponential of the entropy.

    Examples
    --------
    >>> round(perplexity([5, 5, 0]), 6)
    2.0
    """
    p = np.asarray(histogram, float)
    p = p[p > 0] / p.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def reconstruction_quality(reference, images, *, variance):
    """Compute MSE, MSE / variance, PSNR (dB) and SSIM of images in [0, 1]."""
    mse = float(mean_squared_error(reference, images).mean())
    return {
        "mse": mse,
        "mse_over_variance": mse / variance,
        "psnr": float(psnr(reference, images, data_range=1.0).mean()),
        "ssim": float(ssim(reference, images, data_range=1.0).mean()),
    }


def usage(codes, n_codes):
    """Compute number, perplexity and histogram of the codes, for JSON."""
    result = code_usage(codes, n_codes)
    return {
        "n_used": result.n_used,
        "perplexity": result.perplexity,
        "histogram": result.histogram.tolist(),
    }


def rate(prior, codes):
    """Compute the mean code length of codes (N, *grid) under a prior."""
    nats = -float(prior.log_prob(codes).mean())
    return {
        "nats_per_code": nats / math.prod(codes.shape[1:]),
        "bits_per_image": nats / math.log(2),
    }


def frequencies(codes, n_codes):
    """Estimate code probabilities (Krichevsky-Trofimov: counts plus 1/2), float64."""
    counts = np.bincount(codes.reshape(-1), minlength=n_codes) + 0.5
    return counts / counts.sum()


def position_frequencies(codes, n_codes):
    """Estimate code probabilities at each position, (positions, n_codes)."""
    rows = codes.reshape(len(codes), -1)
    return np.stack([frequencies(column, n_codes) for column in rows.T])


def independent_bits(train_codes, test_codes, n_codes):
    """Compute the bits per test image of independent codes.

    ``uniform``, ``unigram`` and ``position_unigram``: uniform probabilities, the
    frequencies of the training codes, and these at each position.
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
    """Find the nearest training image (uint8) of samples in [0, 1], in these units."""
    nearest = nearest_neighbour_distance(255 * samples, training)
    return replace(nearest, distance=nearest.distance / 255)


def share_of_copies(codes, train_codes):
    """Compute the fraction of grids of codes that occur among the training codes."""
    known = {row.tobytes() for row in np.ascontiguousarray(train_codes, np.int32)}
    rows = np.ascontiguousarray(codes, np.int32)
    return float(np.mean([row.tobytes() in known for row in rows]))


def summary(values):
    """Compute mean, minimum, median and maximum."""
    values = np.asarray(values, float)
    return {
        "mean": float(values.mean()),
        "min": float(values.min()),
        "median": float(np.median(values)),
        "max": float(values.max()),
    }


def plain_numbers(value):
    """Convert nested results for JSON, with None for NaN and infinity.

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

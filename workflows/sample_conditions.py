"""Conditions that a user asks for in samples."""

from dataclasses import dataclass
import math

import numpy as np

from dipy_vqvae.workflows.command import UsageError, as_list
from dipy_vqvae.workflows.conditions import CLASSES_ENTRY

# Covariates that are not given are drawn with a seed of their own.
_STREAM = 1


@dataclass(frozen=True, eq=False)
class SampleConditions:
    """Conditions of n samples.

    Parameters
    ----------
    labels : array (n,), int, or None
        Classes.
    covariates : dict of array (n,), or None
        Covariates of the prior by name.
    n_columns : int or None
        Columns of a mosaic in which samples of one condition are below each other.
    """

    labels: np.ndarray | None
    covariates: dict | None
    n_columns: int | None


def conditions_of_samples(options, prior):
    """Return the conditions of the samples; refuse those that the prior does not have."""
    given = _read(as_list(options.condition))
    classes = prior.description.get(CLASSES_ENTRY) or {}
    labels = [] if options.label is None else np.atleast_1d(options.label).tolist()
    if classes.get("name") in given:
        labels = _classes(given.pop(classes["name"]), classes, labels)
    known = [covariate.name for covariate in prior.config.covariates]
    unknown = [name for name in given if name not in known]
    if unknown:
        names = [*known, *filter(None, [classes.get("name")])]
        raise UsageError(
            f"--{unknown[0]}: neither an option nor a condition of this prior, which "
            f"has {', '.join(names) or 'none'}"
        )
    lengths = [len(values) for values in (labels, *given.values()) if len(values) > 1]
    covariates = {
        covariate.name: _column(covariate, given.get(covariate.name), options, index)
        for index, covariate in enumerate(prior.config.covariates)
    }
    return SampleConditions(
        labels=_labels(labels, prior.n_classes or 0, options),
        covariates=covariates or None,
        n_columns=lengths[0] if len(set(lengths)) == 1 else None,
    )


def _read(texts):
    """Return lists of words by name, from ``name=word,word``."""
    given = {}
    for text in texts:
        name, sign, values = text.partition("=")
        words = [word for word in values.split(",") if word]
        if not (name and sign and words):
            raise UsageError(f"--condition must be name=value, got {text!r}")
        given.setdefault(name, []).extend(words)
    return given


def _classes(words, classes, labels):
    """Return the classes that words name."""
    name, values = classes["name"], classes["values"]
    if labels:
        raise UsageError(f"--label and --{name} exclude each other")
    unknown = [word for word in words if word not in values]
    if unknown:
        raise UsageError(
            f"--{name} must be one of {', '.join(values)}, got {unknown[0]}"
        )
    return [values.index(word) for word in words]


def _column(covariate, words, options, index):
    """Return a covariate of all samples: values in turn, or random ones."""
    n = options.n_samples
    if words is None:
        rng = np.random.default_rng([options.random_seed, _STREAM, index])
        return rng.uniform(covariate.low, covariate.high, n)
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [math.nan]
    if not np.isfinite(values).all():
        raise UsageError(f"--{covariate.name} must be numbers, got {' '.join(words)}")
    return np.resize(values, n)


def _labels(classes, n_classes, options):
    """Return the class of each sample, (n,) int, or None for a prior without labels."""
    if not classes:
        if not n_classes:
            return None
        rng = np.random.default_rng(options.random_seed)
        return rng.integers(n_classes, size=options.n_samples)
    if not n_classes:
        raise UsageError("--label: this prior was fitted without labels")
    if not all(0 <= c < n_classes for c in classes):
        raise UsageError(
            f"--label must be in 0..{n_classes - 1} for this prior, got {classes}"
        )
    return np.resize(classes, options.n_samples)

r"""Kinds of grids: a mixture over which a prior is the sum.

What a grid shows as a whole, such as which digit, has to be told by its first codes, and
has to be kept in mind by all that follow. With components c, kinds of grids that are found
before the training,

.. math::

    p(\mathbf{k}) = \sum_c \pi_c \prod_i p(k_i \mid k_\mathrm{before}, c)

a grid is drawn from one of them. The kinds are latent classes :footcite:p:`Lazarsfeld1968`:
a mixture of products of categorical distributions, one for each position, fitted by
expectation maximisation :footcite:p:`Dempster1977`.

References
----------
.. footbibliography::
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from scipy import sparse, special

from dipy_vqvae.parallel import first_decides

N_ITERATIONS = 30
# Codes of grids that the classes are fitted to.
MOST_CODES = 1 << 21
# Grids that the distribution over all grids counts for, in each class.
N_SHARED = 5.0


@dataclass(frozen=True, eq=False)
class LatentClasses:
    """A mixture of products of categorical distributions.

    Attributes
    ----------
    log_p : array, shape (P * K, C), float32
        Log-probability of each code at each position.
    log_weights : array, shape (C,), float64
        Log-probability of each class.
    """

    log_p: np.ndarray
    log_weights: np.ndarray

    def joint(self, codes):
        """Return log-probabilities of grids ``(N, *grid)`` and classes, ``(N, C)``."""
        n_codes = len(self.log_p) // prod(codes.shape[1:])
        return _one_hot(codes, n_codes) @ self.log_p + self.log_weights

    def find(self, codes):
        """Return the likeliest class of each grid, int64 ``(N,)``."""
        size = max(1, MOST_CODES // prod(codes.shape[1:]))
        parts = [codes[i : i + size] for i in range(0, len(codes), size)]
        return np.concatenate([self.joint(part).argmax(1) for part in parts])


def fit_classes(codes, n_classes, *, n_codes, random_seed):
    """Fit classes to grids ``(N, *grid)``, with K where codes do not count."""
    rng = np.random.default_rng(random_seed)
    n = min(len(codes), max(1, MOST_CODES // prod(codes.shape[1:])))
    one_hot = _one_hot(codes[np.sort(rng.permutation(len(codes))[:n])], n_codes)
    common = np.asarray(one_hot.sum(0)).reshape(-1, n_codes) + 1 / n_codes
    common = (common / common.sum(1, keepdims=True)).reshape(-1, 1)
    belongs = rng.dirichlet(np.full(n_classes, 0.1), n)
    for _ in range(N_ITERATIONS):
        counts = one_hot.T @ belongs + N_SHARED * common  # (P * K, C)
        by_position = counts.reshape(-1, n_codes, n_classes)
        log_p = np.log(by_position / by_position.sum(1, keepdims=True))
        classes = LatentClasses(
            log_p.reshape(-1, n_classes).astype(np.float32),
            np.log((belongs.sum(0) + 1) / (n + n_classes)),
        )
        joint = one_hot @ classes.log_p + classes.log_weights
        belongs = special.softmax(joint, axis=1)
    return classes


def with_components(config, sets, *, random_seed):
    """Find the component of each grid, and make it a class to the network.

    `sets` are (codes, conditions) to train on, and maybe to validate on. Returns the
    configuration with the weights of the components, and the sets.
    """
    n = config.n_components

    def find():
        classes = fit_classes(
            sets[0][0], n, n_codes=config.n_codes, random_seed=random_seed
        )
        return [classes.find(codes) for codes, _ in sets]

    found = []
    # Other processes might round otherwise.
    for (codes, conditions), components in zip(sets, first_decides(find)):
        labels = 0 if conditions.labels is None else conditions.labels
        labels = labels * n + components
        found.append((codes, replace(conditions, labels=labels)))
    counts = np.bincount(found[0][1].labels, minlength=max(1, config.n_classes) * n)
    counts = counts.reshape(-1, n) + 1.0
    log_weights = np.log(counts / counts.sum(1, keepdims=True))
    config = config.replace(component_weights=tuple(log_weights.ravel().tolist()))
    return config, found


def _one_hot(codes, n_codes):
    """Return grids as rows of zeros and ones, sparse ``(N, P * K)``; K is no code."""
    rows = codes.reshape(len(codes), -1).astype(np.int64)
    columns = rows + n_codes * np.arange(rows.shape[1])
    counts = rows < n_codes
    ends = np.concatenate([[0], np.cumsum(counts.sum(1))])
    chosen = columns[counts]
    values = np.ones(len(chosen), np.float32)
    shape = (len(rows), n_codes * rows.shape[1])
    return sparse.csr_matrix((values, chosen, ends), shape)

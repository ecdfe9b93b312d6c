"""What grids are conditioned on: a class and continuous covariates for each."""

from dataclasses import dataclass
import logging

import numpy as np

from dipy_vqvae.arrays import as_array
from dipy_vqvae.codes import check_labels

logger = logging.getLogger("dipy_vqvae")


@dataclass(frozen=True)
class Covariate:
    """A continuous condition of a prior.

    Attributes
    ----------
    name : str
        Such as ``"age"``.
    low, high : float
        Range of the training, in the units of the covariate.
    """

    name: str
    low: float
    high: float

    def scale(self, values):
        """Map the range to [-1, 1]; a range of length zero to 0."""
        half = (self.high - self.low) / 2
        return (values - self.low - half) / (half or 1.0)


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions of N grids, as a network takes them; None where it has none.

    Attributes
    ----------
    labels : int array, shape (N,), or None
        Class of each grid.
    covariates : float array, shape (N, n), or None
        Scaled covariates of each grid.
    variants : int array, shape (N,), or None
        In the training: 0 for an image itself, v for its copy of kind v - 1.
    """

    labels: np.ndarray | None = None
    covariates: np.ndarray | None = None
    variants: np.ndarray | None = None

    def __getitem__(self, part):
        """Return those of some of the grids."""
        return Conditions(*(None if v is None else v[part] for v in self.arrays()))

    def arrays(self):
        """Return labels, covariates and variants."""
        return self.labels, self.covariates, self.variants


def read_covariates(covariates, n, *, name="covariates"):
    """Check the columns of a table, one number for each grid.

    Parameters
    ----------
    covariates : dict of array_like, shape (n,)
        Numbers by name; a data frame of pandas serves as well. A single number counts
        for all grids.
    n : int
        Number of grids.
    name : str, optional
        What messages call them.

    Returns
    -------
    columns : dict of array, shape (n,), float64

    Raises
    ------
    TypeError, ValueError
        For something else than a table of finite numbers; the message names the column.
    """
    if not hasattr(covariates, "keys"):
        raise TypeError(
            f"{name} must be columns by name, such as {{'age': [...]}}, got "
            f"{type(covariates).__name__}"
        )
    columns = {}
    for column in covariates.keys():  # noqa: SIM118 - a data frame has no items of rows
        values = as_array(covariates[column], f"{name}[{column!r}]", in_files=False)
        if values.dtype.kind not in "biuf":
            raise TypeError(f"{name}[{column!r}] must be numbers, got {values.dtype}")
        values = values.astype(np.float64)
        if values.ndim == 0:
            values = np.full(n, values)
        if values.shape != (n,):
            raise ValueError(
                f"{name}[{column!r}] must have a number for each of the {n} grids, got "
                f"shape {values.shape}"
            )
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ValueError(
                f"{name}[{column!r}] has {len(bad)} NaN or Inf, the first for grid "
                f"{bad[0]}"
            )
        columns[str(column)] = values
    return columns


def ranges_of(columns):
    """Return a `Covariate` for each of the columns of a training."""
    return tuple(
        Covariate(name, float(values.min()), float(values.max()))
        for name, values in columns.items()
    )


def match_conditions(config, labels, covariates, n, *, prefix=""):
    """Check conditions of n grids against those of a prior's training.

    Parameters
    ----------
    config : PixelCNNConfig
        With ``n_classes`` and ``covariates``.
    labels : array_like, shape (n,), or None
        Classes.
    covariates : dict, or None
        See `read_covariates`.
    n : int
        Number of grids.
    prefix : str, optional
        Start of the names in messages, such as ``"validation_"``.

    Returns
    -------
    conditions : Conditions

    Raises
    ------
    TypeError, ValueError
        For conditions that are missing, unknown or not valid.
    """
    labels = _match_labels(labels, config.n_classes, n, prefix)
    name = f"{prefix}covariates"
    known = [covariate.name for covariate in config.covariates]
    if covariates is None and not known:
        return Conditions(labels)
    columns = read_covariates({} if covariates is None else covariates, n, name=name)
    if sorted(columns) != sorted(known):
        raise ValueError(
            f"{name}: the prior has {', '.join(known) or 'none'}, got "
            f"{', '.join(columns) or 'none'}"
        )
    scaled = []
    for covariate in config.covariates:
        values = columns[covariate.name]
        _warn_of_range(covariate, values, name)
        scaled.append(covariate.scale(values))
    return Conditions(labels, np.stack(scaled, axis=1).astype(np.float32))


def _warn_of_range(covariate, values, name):
    outside = (values < covariate.low) | (values > covariate.high)
    if outside.any():
        logger.warning(
            "%s: %s is %g in one grid, outside of the training's range from %g to %g "
            "(%d of %d grids are)",
            name,
            covariate.name,
            values[outside][0],
            covariate.low,
            covariate.high,
            outside.sum(),
            len(values),
        )


def _match_labels(labels, n_classes, n, prefix):
    """Check labels: none without classes, one per grid with them."""
    if not n_classes:
        if labels is not None:
            raise ValueError(f"{prefix}labels were given, but the prior has no classes")
        return None
    if labels is None:
        raise ValueError(f"the prior needs labels: it has {n_classes} classes")
    return check_labels(labels, n=n, n_classes=n_classes, name=f"{prefix}labels")

"""Configuration of a prior's network, and its entries in a model file."""

from functools import partial
import math

import numpy as np

from dipy_vqvae.device import MEMORY_FORMATS
from dipy_vqvae.nn import GatedPixelCNN, PlainPixelCNN
from dipy_vqvae.prior.conditions import Covariate
from dipy_vqvae.settings import (
    PIXELCNN,
    Any,
    Flag,
    Integer,
    NetworkConfig,
    PerAxis,
    Setting,
    Settings,
)

NETWORKS = {"gated": GatedPixelCNN, "plain": PlainPixelCNN}
# Codes of a grid up to which a gated prior has attention where the user does not say.
MOST_ATTENDED = 4096


class PixelCNNConfig(NetworkConfig):
    """Configuration of the network.

    The settings of :class:`dipy_vqvae.PixelCNNModel` that the network depends on, and
    what the training codes add.

    Parameters
    ----------
    {settings}

    Raises
    ------
    ValueError
        If one of the settings is not allowed.
    """

    SETTINGS = Settings(
        **PIXELCNN.of_network(),
        grid_shape=Setting(
            None,
            PerAxis(1, n=None),
            "Grid of the training codes, the largest along each axis where they "
            "differ.",
        ),
        n_classes=Setting(0, Integer(0), "Number of class labels; 0 without labels."),
        covariates=Setting(
            (),
            Any("tuple of Covariate"),
            "Continuous conditions, each with its name and the range of the training.",
            absent=(),
        ),
        n_variants=Setting(
            0,
            Integer(0),
            "Kinds of changed copies of the images in the training, see `variants` of "
            "`fit`.",
            absent=0,
        ),
        component_weights=Setting(
            (),
            Any("tuple of float"),
            "Log-probability of each component of a mixture, for one class after the "
            "other; all are equal where it is empty.",
            absent=(),
        ),
        outside_code=Setting(
            None,
            Integer(0),
            "Most frequent code outside the masks of the training codes; None without "
            "masks.",
            absent=None,
        ),
        mixed_grids=Setting(
            False,
            Flag(),
            "Whether the grids of the training codes differ.",
            absent=False,
        ),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        values = self.checked()
        values["grid_shape"] = tuple(self.grid_shape)
        for name, size in _sizes(**values).items():
            if values[name] is None:
                values[name] = size
        if values["kind"] == "plain" and values["n_attention"]:
            raise ValueError(
                f"n_attention must be 0 for a plain prior, got {values['n_attention']}"
            )
        n_weights = max(1, values["n_classes"]) * values["n_components"]
        weights = values["component_weights"]
        if weights and (len(weights) != n_weights or not np.isfinite(weights).all()):
            raise ValueError(f"component_weights must be {n_weights} finite numbers")
        # Older files have whatever was outside.
        if (values["outside_code"] or 0) >= values["n_codes"]:
            values["outside_code"] = 0
        vars(self).update(values)

    @property
    def depth(self):
        """Number of layers and of blocks of attention, each with arrays of its own."""
        return self.n_layers + self.n_attention

    @property
    def log_weights(self):
        """Log-probability of each component of each class, ``(n_classes or 1, C)``."""
        shape = (max(1, self.n_classes), self.n_components)
        if not self.component_weights:
            return np.full(shape, -np.log(self.n_components))
        return np.reshape(self.component_weights, shape)

    def to_dict(self):
        """Return the settings as JSON can hold them."""
        covariates = [list(vars(covariate).values()) for covariate in self.covariates]
        return {**self.settings(), "covariates": covariates}

    @classmethod
    def from_dict(cls, entries):
        """Read the settings of a model file."""
        covariates = [_read_covariate(c) for c in entries.get("covariates", ())]
        try:
            weights = tuple(map(float, entries.get("component_weights", ())))
        except (TypeError, ValueError) as error:
            raise ValueError("component_weights are no numbers") from error
        return super().from_dict(
            {**entries, "covariates": tuple(covariates), "component_weights": weights}
        )

    def build(self):
        """Build the network, with random weights."""
        settings = {name: getattr(self, name) for name in PIXELCNN.of_network()}
        has_reverse = settings.pop("both_directions")
        n_components = settings.pop("n_components")
        n_classes = self.n_classes
        if n_components > 1:
            # To the network, a component of a class is a class.
            n_classes = max(1, n_classes) * n_components
        if self.kind == "plain":
            del settings["n_attention"]
        build = partial(
            NETWORKS[settings.pop("kind")],
            settings.pop("n_codes"),
            self.grid_shape,
            n_classes=n_classes,
            n_covariates=len(self.covariates),
            n_variants=self.n_variants,
            mixed_grids=self.mixed_grids,
            has_outside=self.outside_code is not None,
            **settings,
        )
        net = build()
        if has_reverse:
            net.reverse = build()
        return to_layout(net)


def _sizes(*, kind, n_attention, grid_shape, **_):
    """Return the sizes of a network where the user does not say."""
    if kind == "plain":
        return {"n_channels": 128, "n_layers": 2, "n_attention": 0}
    if n_attention is None:
        n_attention = 3 if math.prod(grid_shape) <= MOST_ATTENDED else 0
    return {
        "n_channels": 64,
        "n_layers": 3 if n_attention else 6,
        "n_attention": n_attention,
    }


def _read_covariate(entry):
    """Return a covariate of a model file."""
    try:
        name, low, high = entry
        covariate = Covariate(str(name), float(low), float(high))
    except (TypeError, ValueError) as error:
        raise ValueError(f"not a covariate: {entry!r}") from error
    if not -math.inf < covariate.low <= covariate.high < math.inf:
        raise ValueError(f"a covariate from {low} to {high}")
    return covariate


def to_layout(net):
    """Give a network channels-last weights, for which convolutions are quickest.

    Parameters
    ----------
    net : torch.nn.Module
        The prior's network.

    Returns
    -------
    net : torch.nn.Module
        The same one.
    """
    if net.spatial_dims in MEMORY_FORMATS:
        net = net.to(memory_format=MEMORY_FORMATS[net.spatial_dims])
    return net

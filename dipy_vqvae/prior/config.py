"""Configuration of a prior's network, and its entries in a model file."""

import math

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
# Channels and layers where the user does not say.
SIZES = {
    "gated": {"n_channels": 64, "n_layers": 6},
    "plain": {"n_channels": 128, "n_layers": 2},
}


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
        for name, size in SIZES[values["kind"]].items():
            if values[name] is None:
                values[name] = size
        values["grid_shape"] = tuple(self.grid_shape)
        # Older files have whatever was outside.
        if (values["outside_code"] or 0) >= values["n_codes"]:
            values["outside_code"] = 0
        vars(self).update(values)

    def to_dict(self):
        """Return the settings as JSON can hold them."""
        covariates = [list(vars(covariate).values()) for covariate in self.covariates]
        return {**self.settings(), "covariates": covariates}

    @classmethod
    def from_dict(cls, entries):
        """Read the settings of a model file."""
        covariates = [_read_covariate(c) for c in entries.get("covariates", ())]
        return super().from_dict({**entries, "covariates": tuple(covariates)})

    def build(self):
        """Build the network, with random weights."""
        settings = {name: getattr(self, name) for name in PIXELCNN.of_network()}
        net = NETWORKS[settings.pop("kind")](
            settings.pop("n_codes"),
            self.grid_shape,
            n_classes=self.n_classes,
            n_covariates=len(self.covariates),
            mixed_grids=self.mixed_grids,
            has_outside=self.outside_code is not None,
            **settings,
        )
        return to_layout(net)


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

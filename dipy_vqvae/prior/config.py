"""What a trained prior's network is built from."""

from dataclasses import dataclass

import torch

from dipy_vqvae.codes import check_labels
from dipy_vqvae.nn import GatedPixelCNN, PlainPixelCNN
from dipy_vqvae.settings import check_number

NETWORKS = {"gated": GatedPixelCNN, "plain": PlainPixelCNN}


@dataclass(frozen=True)
class PixelCNNConfig:
    """All that is needed to build the network.

    Attributes are those of :class:`dipy_vqvae.PixelCNNModel`, and what the training
    codes add.

    Attributes
    ----------
    kind : str
        "gated" or "plain".
    n_codes : int
        Number of codes K.
    grid_shape : tuple of int
        Grid of the training codes, the largest along each axis where they differ.
    n_classes : int
        Number of class labels.
    n_channels, n_layers : int
        Size of the network.
    dropout : float
        Share of the channels dropped in training.
    outside_code : int or None
        The code that is found most often where training codes do not count; None
        where all of them do.
    mixed_grids : bool
        Whether the grids of the training codes differ.
    """

    kind: str
    n_codes: int
    grid_shape: tuple
    n_classes: int
    n_channels: int
    n_layers: int
    dropout: float
    outside_code: int | None = None
    mixed_grids: bool = False

    def __post_init__(self):
        check_number("dropout", self.dropout, at_least=0, at_most=0.99)

    def build(self):
        """The network, with random weights."""
        net = NETWORKS[self.kind](
            self.n_codes,
            self.grid_shape,
            n_classes=self.n_classes,
            n_channels=self.n_channels,
            n_layers=self.n_layers,
            dropout=self.dropout,
            mixed_grids=self.mixed_grids,
            has_outside=self.outside_code is not None,
        )
        return to_layout(net)


def to_layout(net):
    """Channels-last weights where torch has that layout; convolutions are quickest.

    Parameters
    ----------
    net : torch.nn.Module
        The prior's network.

    Returns
    -------
    net : torch.nn.Module
        The same one.
    """
    layouts = {2: torch.channels_last, 3: torch.channels_last_3d}
    if net.spatial_dims in layouts:
        net = net.to(memory_format=layouts[net.spatial_dims])
    return net


def match_labels(labels, n_classes, n):
    """Labels as a prior needs them: none without classes, all of them with.

    Parameters
    ----------
    labels : int array, shape (n,), or None
        Classes.
    n_classes : int
        Number of classes of the prior, 0 for none.
    n : int
        How many labels there must be.

    Returns
    -------
    labels : array, shape (n,), int64, or None

    Raises
    ------
    ValueError
        If there are labels for a prior without classes, none for one with
        classes, or labels that do not fit.
    TypeError
        For labels that are not integers.
    """
    if not n_classes:
        if labels is not None:
            raise ValueError("labels were given, but the prior has no classes")
        return None
    if labels is None:
        raise ValueError(f"the prior needs labels: it has {n_classes} classes")
    return check_labels(labels, n=n, n_classes=n_classes)

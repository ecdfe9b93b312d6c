"""What a trained VQ-VAE's network is built from."""

from dataclasses import dataclass

import torch

from dipy_vqvae.data import IntensityScaling, check_spatial_dims
from dipy_vqvae.nn import ENCODERS, VQVAENet
from dipy_vqvae.settings import check_choice, check_number, per_axis

# Voxels per code along an axis: more than any image has.
MOST_DOWNSAMPLING = 4096
# Rounds of refinement; a forged file must not keep a command busy for ever.
MOST_REFINEMENTS = 100


@dataclass(frozen=True)
class VQVAEConfig:
    """All that is needed to build the network and to use it.

    Attributes are those of :class:`dipy_vqvae.VQVAEModel`, given for each axis, and
    what the training images add.

    Attributes
    ----------
    n_codes, code_dim : int
        Size K of the codebook and dimension D of its codes.
    downsampling : tuple of int
        Voxels per code along each axis; there are as many as spatial axes.
    architecture : str
        See :mod:`dipy_vqvae.nn.autoencoder`.
    n_channels : int
        Width of encoder and decoder.
    n_blocks : tuple of 2 ints
        Residual blocks of encoder and decoder.
    rate_weight : float
        Price of code length; the network has a rate network where it is above 0.
    n_channels_in : int
        Channels of the images.
    channel_axis : bool
        Whether the images have a last axis for them.
    image_shape : tuple of int
        Spatial shape of the training images, the largest along each axis where they
        differ.
    scaling : IntensityScaling
        From the units of the images to those of the network.
    bounds : tuple of 2 floats, or None
        Smallest and largest training intensity, where decoded images are clipped
        to them; scaled ones where each volume has a scaling of its own.
    mixed_shapes : bool
        Whether the shapes of the training images differ.
    n_hidden : int or None
        Width inside the residual blocks.
    n_refinements : int
        Rounds of :mod:`dipy_vqvae.nn.refine`.

    Raises
    ------
    ValueError
        If one of the settings is out of its range.
    """

    n_codes: int
    code_dim: int
    downsampling: tuple
    architecture: str
    n_channels: int
    n_blocks: tuple
    rate_weight: float
    n_channels_in: int
    channel_axis: bool
    image_shape: tuple
    scaling: IntensityScaling
    bounds: tuple | None
    mixed_shapes: bool = False
    n_hidden: int | None = None
    n_refinements: int = 0

    def __post_init__(self):
        check_number("n_codes", self.n_codes, at_least=2, whole=True)
        check_number("code_dim", self.code_dim, at_least=1, whole=True)
        check_number("n_channels", self.n_channels, at_least=1, whole=True)
        if self.n_hidden is not None:
            check_number("n_hidden", self.n_hidden, at_least=1, whole=True)
        check_number(
            "n_refinements",
            self.n_refinements,
            at_least=0,
            at_most=MOST_REFINEMENTS,
            whole=True,
        )
        check_number("n_channels_in", self.n_channels_in, at_least=1, whole=True)
        check_number("rate_weight", self.rate_weight, at_least=0)
        check_choice("architecture", self.architecture, ENCODERS)
        n_axes = check_spatial_dims(len(self.downsampling))
        for factor in per_axis("downsampling", self.downsampling, n_axes):
            check_number("downsampling", factor, at_least=1, at_most=MOST_DOWNSAMPLING)
        per_axis("image_shape", self.image_shape, n_axes)
        per_axis("n_blocks", tuple(self.n_blocks), 2, at_least=0)
        if self.bounds is not None:
            low, high = self.bounds
            check_number("bounds", high, at_least=low)
            for end in self.output_range:  # of float32, in which networks work
                check_number("scaled bounds", end, at_least=-3.4e38, at_most=3.4e38)

    @property
    def latent_shape(self):
        """Grid of codes of an image of the training images' shape."""
        return tuple(-(-n // f) for n, f in zip(self.image_shape, self.downsampling))

    @property
    def output_range(self):
        """`bounds` in the units of the network."""
        if self.bounds is None:
            return None
        return tuple(
            (bound - self.scaling.offset) / self.scaling.scale for bound in self.bounds
        )

    def to_dict(self):
        """The settings as JSON can keep them."""
        return {**vars(self), "scaling": self.scaling.to_dict()}

    @classmethod
    def from_dict(cls, entries):
        """The settings that `to_dict` described, after a way through JSON.

        Raises
        ------
        ValueError
            If an entry is missing, unknown or out of its range.
        """
        try:
            entries = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in entries.items()
            }
            scaling = IntensityScaling.from_dict(entries["scaling"])
            return cls(**{**entries, "scaling": scaling})
        except (TypeError, KeyError) as error:
            raise ValueError(f"these are no settings of a VQ-VAE: {error}") from error

    def build(self, *, codebook="gradient", commitment=0.0):
        """The network, with random weights.

        `codebook` and `commitment` matter to training alone.
        """
        net = VQVAENet(
            self.n_channels_in,
            self.n_codes,
            self.code_dim,
            factors=self.downsampling,
            architecture=self.architecture,
            n_channels=self.n_channels,
            n_blocks=self.n_blocks,
            n_hidden=self.n_hidden,
            n_refinements=self.n_refinements,
            codebook=codebook,
            commitment=commitment,
            rate_weight=self.rate_weight,
            grid_shape=self.latent_shape,
            mixed_grids=self.mixed_shapes,
            output_range=self.output_range,
        )
        return net.to(memory_format=memory_layout(len(self.downsampling)))


def memory_layout(spatial_dims):
    """The layout in which convolutions are quickest, channels last."""
    return {2: torch.channels_last, 3: torch.channels_last_3d}[spatial_dims]

"""Configuration of a VQ-VAE's network, and its entries in a model file."""

from dataclasses import replace

from dipy_vqvae.data import IntensityScaling
from dipy_vqvae.device import MEMORY_FORMATS
from dipy_vqvae.nn import VQVAENet
from dipy_vqvae.settings import (
    VQVAE,
    Any,
    Flag,
    Integer,
    NetworkConfig,
    PerAxis,
    Setting,
    Settings,
    check_number,
    per_axis,
)

_LARGEST_FLOAT32 = 3.4e38


class VQVAEConfig(NetworkConfig):
    """Configuration of the network and of its use.

    The settings of :class:`dipy_vqvae.VQVAEModel` that the network depends on, for
    each axis, and what the training images add.

    Parameters
    ----------
    {settings}

    Raises
    ------
    ValueError
        If one of the settings is not allowed.
    """

    SETTINGS = Settings(
        **{
            **VQVAE.of_network(),
            # Newer than the first model files.
            "n_hidden": replace(VQVAE["n_hidden"], absent=None),
            "n_refinements": replace(VQVAE["n_refinements"], absent=0),
        },
        n_channels_in=Setting(1, Integer(1), "Channels of the images."),
        channel_axis=Setting(
            False, Flag(), "Whether the images have a last axis for the channels."
        ),
        image_shape=Setting(
            1,
            PerAxis(1, n=None),
            "Spatial shape of the training images, the largest along each axis where "
            "they differ.",
        ),
        scaling=Setting(
            None, Any("IntensityScaling"), "From image intensities to the network's."
        ),
        bounds=Setting(
            None,
            Any("tuple of two float"),
            "Smallest and largest training intensity, to which decoded images are "
            "clipped; scaled ones where each volume has a scaling of its own. None "
            "without clipping.",
        ),
        mixed_shapes=Setting(
            False,
            Flag(),
            "Whether the shapes of the training images differ.",
            absent=False,
        ),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        n_axes = len(self.image_shape)
        self.spatial_dims = VQVAE["spatial_dims"].check("spatial_dims", n_axes)
        values = self.SETTINGS.check(self.settings(), spatial_dims=n_axes)
        values["image_shape"] = per_axis("image_shape", self.image_shape, n_axes)
        values["downsampling"] = per_axis("downsampling", self.downsampling, n_axes)
        values["n_blocks"] = per_axis("n_blocks", self.n_blocks, 2, at_least=0)
        vars(self).update(values)
        self._check_bounds()

    def _check_bounds(self):
        """Refuse bounds that are in the wrong order, or that float32 cannot hold."""
        if self.bounds is None:
            return
        low, high = self.bounds
        check_number("bounds", high, at_least=low)
        for bound in self.output_range:
            check_number(
                "scaled bounds",
                bound,
                at_least=-_LARGEST_FLOAT32,
                at_most=_LARGEST_FLOAT32,
            )

    @property
    def latent_shape(self):
        """Grid of codes of an image of the training images' shape."""
        return tuple(-(-n // f) for n, f in zip(self.image_shape, self.downsampling))

    @property
    def depth(self):
        """Number of residual blocks of encoder and decoder."""
        return sum(self.n_blocks)

    @property
    def output_range(self):
        """`bounds` in the units of the network."""
        if self.bounds is None:
            return None
        return tuple(
            (bound - self.scaling.offset) / self.scaling.scale for bound in self.bounds
        )

    def to_dict(self):
        """Return the settings as JSON can hold them."""
        return {**self.settings(), "scaling": self.scaling.to_dict()}

    @classmethod
    def from_dict(cls, entries):
        """Read the settings of a model file."""
        names = ("image_shape", "downsampling", "n_blocks")
        lists = [entries.get(name) for name in names]
        lengths = [len(v) if isinstance(v, (list, tuple)) else None for v in lists]
        if None in lengths or lengths != [lengths[0], lengths[0], 2]:
            raise ValueError(
                "image_shape and downsampling must have an integer for each axis, and "
                f"n_blocks two, got {lists[0]!r}, {lists[1]!r} and {lists[2]!r}"
            )
        scaling = IntensityScaling.from_dict(entries.get("scaling"))
        return super().from_dict({**entries, "scaling": scaling})

    def build(self, *, codebook="gradient", commitment=0.0):
        """Build the network, with random weights.

        `codebook` and `commitment` matter to training alone.
        """
        settings = {name: getattr(self, name) for name in VQVAE.of_network()}
        net = VQVAENet(
            self.n_channels_in,
            factors=settings.pop("downsampling"),
            **settings,
            codebook=codebook,
            commitment=commitment,
            grid_shape=self.latent_shape,
            mixed_grids=self.mixed_shapes,
            output_range=self.output_range,
        )
        return net.to(memory_format=MEMORY_FORMATS[self.spatial_dims])

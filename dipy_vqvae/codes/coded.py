"""Codes of the images of one file, and where they lie."""

import base64
from dataclasses import dataclass
import math
import zlib

import numpy as np

from dipy_vqvae.data import Layout, pad_to, padded_shape

_BYTES_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class PackedMask:
    """A mask as text, which ``numpy.asarray`` unpacks.

    A small file can have a mask of any size: it is unpacked once the codes are known to
    be those of a model, whose blocks are not that large.

    Attributes
    ----------
    text : str
        Compressed bits.
    shape : tuple of int
        Shape of the mask.
    """

    text: str
    shape: tuple

    @classmethod
    def of(cls, mask):
        """Compress a boolean array, or return a mask that is packed already."""
        if isinstance(mask, cls):
            return mask
        bits = np.packbits(np.ascontiguousarray(mask))
        text = base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode("ascii")
        return cls(text, np.shape(mask))

    def check(self):
        """Raise ValueError for a damaged text, without memory for the mask."""
        n_bytes = sum(map(len, self._parts()))
        if n_bytes != self._n_bytes:
            raise ValueError(f"a mask of {n_bytes} bytes for {self.shape} voxels")

    def __array__(self, dtype=None, copy=None):
        bits = np.frombuffer(b"".join(self._parts()), np.uint8)
        mask = np.unpackbits(bits, count=math.prod(self.shape))
        return mask.reshape(self.shape).astype(dtype or bool)

    @property
    def _n_bytes(self):
        return -(-math.prod(self.shape) // 8)

    def _parts(self):
        """Yield the bytes of the mask; at most one more than it has."""
        content = base64.b64decode(self.text, validate=True)
        stream, n_left = zlib.decompressobj(), self._n_bytes + 1
        while n_left and content and not stream.eof:
            part = stream.decompress(content, min(n_left, _BYTES_AT_A_TIME))
            yield part
            n_left -= len(part)
            content = stream.unconsumed_tail


@dataclass(frozen=True, eq=False)
class CodedImages:
    """Codes of the images of one file, with what is needed to decode them.

    Attributes
    ----------
    codes : array, shape (n, *grid), int32
        Codes of the model `model`.
    layout : Layout
        Order of the images in a file.
    image_shape : tuple of int
        Spatial shape of the images.
    downsampling : tuple of int
        Voxels per code along each axis.
    n_codes : int
        Size of the codebook.
    model : str
        Fingerprint of the codebook, see
        :func:`dipy_vqvae.vqvae.codebook_fingerprint`.
    scalings : tuple of IntensityScaling
        One for all images or one for each.
    affine : array (4, 4) or None
        Voxel indices of the image to world coordinates.
    space : dict or None
        What the header of the image says of space and time, see
        :class:`dipy_vqvae.data.ImageHeader`.
    digest : str or None
        Hash of the codes in the file.
    mask : array, shape (n, *image_shape), bool, or PackedMask, or None
        Decoded images are zero outside of it.
    """

    codes: np.ndarray
    layout: Layout
    image_shape: tuple
    downsampling: tuple
    n_codes: int
    model: str
    scalings: tuple
    affine: np.ndarray | None = None
    space: dict | None = None
    digest: str | None = None
    mask: np.ndarray | PackedMask | None = None

    def groups(self):
        """List the images that share a scaling: pairs of a slice and the scaling."""
        if len(self.scalings) == 1:
            return [(slice(None), self.scalings[0])]
        return [(slice(i, i + 1), s) for i, s in enumerate(self.scalings)]

    @property
    def to_image(self):
        """Affine (4, 4) from the indices of codes to those of the image's voxels."""
        return blocks_to_image(
            self.downsampling,
            slice_axis=self.layout.slice_axis,
            turn=self.layout.turn,
            image_shape=self.image_shape,
        )

    @property
    def affine_of_codes(self):
        """Affine (4, 4) from the indices of codes to world coordinates."""
        affine = np.eye(4) if self.affine is None else self.affine
        return affine @ self.to_image


def positions_inside(mask, downsampling):
    """Return where a block has a voxel inside: (n, *spatial) -> (n, *grid), bool."""
    padded = padded_shape(mask.shape[1:], downsampling)
    mask = pad_to(mask, padded, mode="constant")
    # (n, g * f, h * f) -> (n, g, f, h, f)
    blocks = [m for n, f in zip(padded, downsampling) for m in (n // f, f)]
    inside = mask.reshape(len(mask), *blocks)
    return inside.any(axis=tuple(range(2, inside.ndim, 2)))


def blocks_to_image(downsampling, *, slice_axis=None, turn=None, image_shape=None):
    r"""Compute the affine from codes to voxels.

    The outer corners of the grid of codes are those of the padded image. With f voxels
    per code, code j is centred on voxel :math:`f j + (f - 1) / 2`. Slices of a 2D model
    follow one another along `slice_axis`, which stays as it is.

    Images that were turned (`turn`) are padded at the end of the turned axes: of an axis
    that is flipped this is the beginning of the stored one, and with N voxels in G blocks
    code j is centred on voxel :math:`f j + (f - 1) / 2 + N - f G`.
    """
    if turn is not None:
        return _turned_blocks_to_image(downsampling, slice_axis, turn, image_shape)
    factors = np.array(downsampling, np.float64)
    if len(factors) == 2:
        # A single slice has no axis of slices; it is the third one.
        factors = np.insert(factors, 2 if slice_axis is None else slice_axis, 1)
    to_image = np.diag([*factors, 1.0])
    to_image[:3, 3] = (factors - 1) / 2
    return to_image


def _turned_blocks_to_image(downsampling, slice_axis, turn, image_shape):
    to_image = np.eye(4)
    turned = zip(turn.axes, turn.flips)
    in_plane = [(axis, flip) for axis, flip in turned if axis != slice_axis]
    for (axis, flip), factor, n in zip(in_plane, downsampling, image_shape):
        to_image[axis, axis] = factor
        to_image[axis, 3] = (factor - 1) / 2
        if flip:
            to_image[axis, 3] += n - factor * -(-n // factor)
    return to_image

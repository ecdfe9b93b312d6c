"""Image codecs that users have, of montages of slices: AVIF, JPEG XL, WebP, JPEG 2000.

AVIF and WebP are Pillow's, JPEG XL and JPEG 2000 those of imagecodecs.
"""

from dataclasses import dataclass
from functools import partial
import io

import numpy as np

N_COLUMNS = 40


@dataclass(frozen=True)
class Codec:
    """Functions from an image and a quality to bytes, and from bytes to the image."""

    encode: object
    decode: object


def montage(slices):
    """Slices side by side, the last row filled up with the last one."""
    n, height, width = slices.shape
    n_columns = min(N_COLUMNS, n)
    rows = -(-n // n_columns)
    more = np.repeat(slices[-1:], rows * n_columns - n, axis=0)
    tiles = np.concatenate([slices, more]).reshape(rows, n_columns, height, width)
    tiles = tiles.transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiles.reshape(rows * height, n_columns * width))


def from_montage(image, slices):
    """The slices of a montage."""
    n, height, width = slices.shape
    rows, columns = image.shape[0] // height, image.shape[1] // width
    tiles = image.reshape(rows, height, columns, width).transpose(0, 2, 1, 3)
    return tiles.reshape(-1, height, width)[:n]


def by_pillow(image, setting, **options):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, quality=setting, **options)
    return stream.getvalue()


def from_pillow(content):
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def jpeg_xl(image, setting):
    import imagecodecs

    return imagecodecs.jpegxl_encode(image, distance=setting, effort=9)


def from_jpeg_xl(content):
    import imagecodecs

    return imagecodecs.jpegxl_decode(content)


def jpeg_2000(image, setting):
    import imagecodecs

    # Without the boxes of a .jp2 file.
    return imagecodecs.jpeg2k_encode(
        image, level=setting, codecformat="j2k", reversible=False
    )


def from_jpeg_2000(content):
    import imagecodecs

    return imagecodecs.jpeg2k_decode(content)


CODECS = {
    # Grey, and slowly: smaller than by default.
    "AVIF": Codec(
        partial(by_pillow, format="AVIF", subsampling="4:0:0", speed=3), from_pillow
    ),
    "JPEG XL": Codec(jpeg_xl, from_jpeg_xl),
    "WebP": Codec(partial(by_pillow, format="WEBP", method=6), from_pillow),
    "JPEG 2000": Codec(jpeg_2000, from_jpeg_2000),
}

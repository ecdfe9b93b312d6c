"""Reading images, scaling their intensities, fitting them to a grid."""

from dipy_vqvae.data.axes import SourceFile, Sources
from dipy_vqvae.data.checks import check_images, check_mask
from dipy_vqvae.data.collection import ImageCollection
from dipy_vqvae.data.formats.idx import read_idx
from dipy_vqvae.data.formats.nifti import read_nifti
from dipy_vqvae.data.formats.reading import Image, read_image
from dipy_vqvae.data.intensity import IntensityScaling, fit_scaling
from dipy_vqvae.data.loading import ImageSet, load_images
from dipy_vqvae.data.opening import open_images
from dipy_vqvae.data.padding import crop_to, latent_affine, pad_to, padded_shape
from dipy_vqvae.data.paths import expand_paths, image_kind

__all__ = [
    "Image",
    "ImageCollection",
    "ImageSet",
    "IntensityScaling",
    "SourceFile",
    "Sources",
    "check_images",
    "check_mask",
    "crop_to",
    "expand_paths",
    "fit_scaling",
    "image_kind",
    "latent_affine",
    "load_images",
    "open_images",
    "pad_to",
    "padded_shape",
    "read_idx",
    "read_image",
    "read_nifti",
]

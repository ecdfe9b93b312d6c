"""
==============================================
Codes for whole volumes with a 3D VQ-VAE
==============================================

A 3D VQ-VAE :footcite:p:`vandenOord2017` replaces blocks of voxels by codes. Here the
blocks have 4 x 4 x 2 voxels, because the slices are thicker than the pixels are wide. We
fit the model to random patches of a head image that comes with DIPY, and reconstruct the
whole image in tiles. We compare the result with downsampling, a common way to make an
image smaller.

One volume is not a training set. The figures show how much of a single image a number of
codes can represent, not how well the model would work on another head.

"""

from dipy.data import get_fnames
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import zoom

import dipy_vqvae as dv
from dipy_vqvae.metrics import psnr, ssim

###############################################################################
# ``open_images`` reads the headers of the files. Voxels are read when they are needed, so
# training images need not fit in memory. Each file is a subject; here there is one.

images = dv.open_images(get_fnames(name="aniso_vox"), spatial_dims=3)
print(f"{len(images)} volume of {images.shapes[0]}")

###############################################################################
# ``patch_shape`` trains on random patches. The fitted model encodes images of any size;
# large volumes are processed in tiles.

model = dv.VQVAEModel(
    n_codes=128,
    code_dim=8,
    spatial_dims=3,
    downsampling=(4, 4, 2),
    n_channels=32,
    scaling="volume",
    random_seed=1,
)
fit = model.fit(images, patch_shape=(24, 24, 12), n_epochs=100, batch_size=4)

volume = images.read(0)
codes = fit.encode(volume)
restored = fit.predict(volume)
print(f"{volume[0].size} voxels, {codes[0].size} codes of {np.log2(128):.0f} bits")

###############################################################################
# For comparison, we downsample the image to as many voxels as there are codes, and
# upsample it, both by cubic interpolation. Each of these voxels has 16 bits, more than
# twice as many as a code.

factors = np.divide(codes.shape[1:], volume.shape[1:])
small = zoom(volume[0].astype(float), factors, order=3)
upsampled = zoom(small, np.divide(volume.shape[1:], small.shape), order=3)[np.newaxis]

options = {"data_range": float(np.ptp(volume))}
for name, result in (("codes", restored), ("downsampling", upsampled)):
    print(
        f"{name}: PSNR {psnr(volume, result, **options)[0]:.1f} dB, "
        f"SSIM {ssim(volume, result, spatial_dims=3, **options)[0]:.3f}"
    )

###############################################################################
# We show the three middle slices of the image, the reconstruction and the residual.

fig, axes = plt.subplots(3, 3, figsize=(9, 8), layout="constrained")
x, y, z = (n // 2 for n in volume.shape[1:])
top = np.percentile(volume, 99.5)
rows = (
    ("Image", volume[0], {"cmap": "gray", "vmin": 0, "vmax": top}),
    ("Reconstruction", restored[0], {"cmap": "gray", "vmin": 0, "vmax": top}),
    (
        "Residual",
        volume[0] - restored[0],
        {"cmap": "RdBu", "vmin": -top / 4, "vmax": top / 4},
    ),
)
width, height, depth = volume.shape[1:]
for row, (title, data, options) in zip(axes, rows):
    row[0].set_ylabel(title)
    for axis, view in zip(row, (data[:, :, z], data[:, y], data[x])):
        axis.imshow(view.T, origin="lower", aspect="auto", **options)
        axis.set_xticks([])
        axis.set_yticks([])
fig.savefig("vqvae_volume.png", dpi=150)

###############################################################################
# .. rst-class:: centered small fst-italic fw-semibold
#
# The middle slices of a head image, its reconstruction, and the residual.
#
#
# The same model with commands::
#
#     dipy_fit_vqvae aniso_vox.nii.gz --spatial_dims 3 --n_codes 128 --code_dim 8 --downsampling 4 4 2 --n_channels 32 --scaling volume --patch_shape 24 24 12 --n_epochs 100 --batch_size 4 --random_seed 1
#     dipy_reconstruct_vqvae vqvae.safetensors aniso_vox.nii.gz
#
#
# References
# ----------
#
# .. footbibliography::
#

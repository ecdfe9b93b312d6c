"""
=========================================
Codes for brain slices with a VQ-VAE
=========================================

A VQ-VAE :footcite:p:`vandenOord2017` encodes an image as a small grid of codes, each
one of K, and decodes the codes to an image. In this example we fit a VQ-VAE to axial
slices of two brain images that come with DIPY. We measure the reconstruction error, show
the codes, and save them as a NIfTI image that viewers overlay on the original. Then we
sample new slices from a PixelCNN prior :footcite:p:`vandenOord2016b`.

Two subjects are not enough for a model of brains in general. The figures below show how
well a model can memorise some thirty slices. For anything else, use more subjects, and
hold out some of them.

"""

from dipy.data import get_fnames
from dipy.io.image import load_nifti, save_nifti
from dipy.segment.mask import median_otsu
import matplotlib.pyplot as plt
import numpy as np

import dipy_vqvae as dv
from dipy_vqvae.codes import save_codes
from dipy_vqvae.data import Layout
from dipy_vqvae.vqvae import encode_images

###############################################################################
# The first image has ten slices of 128 x 128 pixels, the second one 24 slices of
# 58 x 58: training images may differ in shape. The units of the two images differ, too.

paths = [get_fnames(name=name) for name in ("S0_10", "aniso_vox")]
names = ["S0_10slices", "aniso_vox"]
volumes, affines = [], []
for name, path in zip(names, paths):
    data, affine = load_nifti(path)
    volumes.append(data.reshape(data.shape[:3]))
    affines.append(affine)
    print(f"{name}: {volumes[-1].shape}, values up to {volumes[-1].max()}")

###############################################################################
# A brain mask excludes the background, which would otherwise use most of the codes.
# Voxels outside the mask have no influence. We save the masks for the commands below.

masks = [
    median_otsu(volume.astype(float), median_radius=2, numpass=1)[1]
    for volume in volumes
]
for name, mask, affine in zip(names, masks, affines):
    save_nifti(f"{name}_mask.nii.gz", mask.astype(np.uint8), affine)

###############################################################################
# A 2D model takes slices along the first axis of an array. Each list entry is one
# subject. ``scaling="volume"`` scales each subject by its own percentiles inside its
# mask; results are in the units of the subject.

slices = [np.moveaxis(volume, 2, 0) for volume in volumes]
inside = [np.moveaxis(mask, 2, 0) for mask in masks]

model = dv.VQVAEModel(
    n_codes=32, code_dim=8, n_channels=32, scaling="volume", random_seed=1
)
fit = model.fit(slices, mask=inside, n_epochs=40, batch_size=8)

###############################################################################
# ``fit`` returns a new object and leaves the model unchanged. The history has the losses
# by epoch.

history = fit.history
print(f"{history.epochs[-1]:g} epochs, loss {history['loss'][-1]:.3f}")

###############################################################################
# Codes are integers on a grid that is four times as coarse. ``predict`` encodes and
# decodes images: the reconstructions have the shape and units of the images, and are zero
# outside the mask.

codes = fit.encode(slices, mask=inside)
restored = fit.predict(slices, mask=inside)
for name, subject, reconstruction, mask in zip(names, slices, restored, inside):
    error = np.abs(subject - reconstruction)[mask].mean()
    data_range = np.ptp(subject[mask])
    print(
        f"{name}: mean absolute error {error:.0f}, "
        f"{100 * error / data_range:.1f}% of the range"
    )

usage = fit.usage(slices, mask=inside)
print(
    f"{usage.n_used} of {fit.n_codes} codes in use, perplexity {usage.perplexity:.1f}"
)

###############################################################################
# We show the middle slice of each subject, its codes (of blocks with a voxel inside the
# mask), and its reconstruction.

positions = [fit.positions_inside(mask) for mask in inside]
masked_codes = [np.ma.masked_array(grid, ~mask) for grid, mask in zip(codes, positions)]

fig, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
for row, subject, grid, reconstruction in zip(axes, slices, masked_codes, restored):
    middle = len(subject) // 2
    limits = {"cmap": "gray", "vmin": 0, "vmax": np.percentile(subject[middle], 99.5)}
    row[0].imshow(subject[middle].T, origin="lower", **limits)
    row[1].imshow(grid[middle].T, origin="lower", cmap="nipy_spectral")
    row[2].imshow(reconstruction[middle].T, origin="lower", **limits)
for axis, title in zip(axes[0], ("Slice", "Codes", "Reconstruction")):
    axis.set_title(title)
for axis in axes.flat:
    axis.set_axis_off()
fig.savefig("vqvae_slices.png", dpi=150)

###############################################################################
# .. rst-class:: centered small fst-italic fw-semibold
#
# A slice of each subject, its codes, and its reconstruction.
#
#
# We move the slices back to the third axis and save the reconstruction with the affine of
# the file. ``encode_images`` and ``save_codes`` save codes as ``dipy_encode_vqvae`` does:
# the affine places each code over its block of voxels, and the header has all that
# ``dipy_decode_vqvae`` needs.

save_nifti("restored.nii.gz", np.moveaxis(restored[0], 0, 2), affines[0])
coded = encode_images(
    fit, slices[0], layout=Layout(2, slice_axis=2), mask=inside[0], affine=affines[0]
)
save_codes("codes.nii.gz", coded)
fit.save("vqvae.safetensors")

###############################################################################
# A PixelCNN learns the probability of each code given the codes before it. Grids may
# differ in size. Codes outside the brain do not count.

prior = dv.PixelCNNModel(
    n_codes=fit.n_codes, n_channels=32, n_layers=4, dropout=0.2, random_seed=1
).fit(codes, mask=positions, n_epochs=20, batch_size=8)
prior.save("pixelcnn.safetensors")
bits = -prior.log_prob(codes, mask=positions).sum() / np.log(2)
n_inside = sum(mask.sum() for mask in positions)
print(f"{bits / n_inside:.2f} bits per code; without the prior {np.log2(32):.0f}")

###############################################################################
# We sample new codes and decode them, here inside the mask of a slice of the second
# subject. Intensities are relative to a subject's own scale: 0 and 1 are its 0.5 and 99.5
# percentiles. From thirty slices, the prior learns which codes are neighbours, but not the
# shape of a brain.

middle = len(inside[1]) // 2
mask, grid_mask = inside[1][middle], positions[1][middle]
sampled_codes = prior.sample(
    8, grid_shape=grid_mask.shape, mask=grid_mask, random_seed=3
)
samples = fit.decode(sampled_codes, image_shape=mask.shape)
samples[:, ~mask] = 0

fig, axes = plt.subplots(2, 4, figsize=(8, 4), layout="constrained")
for axis, sample in zip(axes.flat, samples):
    axis.imshow(sample.T, origin="lower", cmap="gray", vmin=0, vmax=1)
    axis.set_axis_off()
fig.savefig("vqvae_samples.png", dpi=150)

###############################################################################
# .. rst-class:: centered small fst-italic fw-semibold
#
# Slices sampled from the prior, in sampling order.
#
#
# The commands fit the same models, bit for bit, to the same files::
#
#     dipy_fit_vqvae S0_10slices.nii.gz aniso_vox.nii.gz --mask_files S0_10slices_mask.nii.gz aniso_vox_mask.nii.gz --n_codes 32 --code_dim 8 --n_channels 32 --scaling volume --n_epochs 40 --batch_size 8 --random_seed 1
#     dipy_fit_pixelcnn vqvae.safetensors S0_10slices.nii.gz aniso_vox.nii.gz --mask_files S0_10slices_mask.nii.gz aniso_vox_mask.nii.gz --n_channels 32 --n_layers 4 --dropout 0.2 --n_epochs 20 --batch_size 8 --random_seed 1
#     dipy_reconstruct_vqvae vqvae.safetensors S0_10slices.nii.gz --mask_files S0_10slices_mask.nii.gz
#     dipy_encode_vqvae vqvae.safetensors S0_10slices.nii.gz --mask_files S0_10slices_mask.nii.gz
#
#
# References
# ----------
#
# .. footbibliography::
#

"""
=========================================
Codes for brain slices with a VQ-VAE
=========================================

A VQ-VAE :footcite:p:`vandenOord2017` turns an image into a small grid of codes, each
one of K, and back. In this example we learn codes for axial slices of two brain images
that come with DIPY, look at what the codes keep and where in the brain they live, write
them as a NIfTI image that lies over the original, and draw new slices from a PixelCNN
prior :footcite:p:`vandenOord2016b`.

Two subjects are not enough to learn what brains look like. The figures below say how well
a model can remember some thirty slices; for more than that, take more subjects, and hold
some of them out.

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
# 58 x 58: images of a training may differ in shape. Both have other units, too.

names = ("S0_10", "aniso_vox")
volumes, affines = [], []
for name in names:
    data, affine = load_nifti(get_fnames(name=name))
    volumes.append(data.reshape(data.shape[:3]))
    affines.append(affine)
    print(f"{name}: {volumes[-1].shape}, values up to {volumes[-1].max()}")

###############################################################################
# A mask of the brain leaves out the background, which would otherwise take most of
# the codes. Nothing outside it has any influence.

masks = [
    median_otsu(volume.astype(float), median_radius=2, numpass=1)[1]
    for volume in volumes
]

###############################################################################
# A 2D model takes slices along the first axis of an array. Each list entry is one
# subject, and ``scaling="volume"`` scales each of them by its own percentiles inside
# its mask; results are given back in the units of the subject.

slices = [np.moveaxis(volume, 2, 0) for volume in volumes]
inside = [np.moveaxis(mask, 2, 0) for mask in masks]

model = dv.VQVAEModel(
    n_codes=32, code_dim=8, n_channels=48, scaling="volume", random_seed=1
)
fit = model.fit(slices, mask=inside, n_epochs=120, batch_size=8)

###############################################################################
# ``fit`` is a new object; the model stays as it was. The history has the losses by epoch.

history = fit.history
print(f"{history.epochs[-1]:g} epochs, loss {history['loss'][-1]:.3f}")

###############################################################################
# Codes are integers on a grid that is four times as coarse, and ``predict`` makes the
# images from them again: of the same shape and units, and zero outside the mask.

codes = fit.encode(slices, mask=inside)
restored = fit.predict(slices, mask=inside)
for name, subject, found, mask in zip(names, slices, restored, inside):
    error = np.abs(subject - found)[mask].mean()
    span = np.ptp(subject[mask])
    print(
        f"{name}: mean absolute error {error:.0f}, {100 * error / span:.1f}% of range"
    )

usage = fit.usage(slices, mask=inside)
print(
    f"{usage.n_used} of {fit.n_codes} codes in use, perplexity {usage.perplexity:.1f}"
)

###############################################################################
# We show the middle slice of each subject, its codes (those that stand for something
# inside the mask), and its reconstruction.

where = [fit.positions_inside(mask) for mask in inside]
shown = [np.ma.masked_array(code, ~counts) for code, counts in zip(codes, where)]

fig, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
for row, subject, code, found in zip(axes, slices, shown, restored):
    middle = len(subject) // 2
    limits = {"cmap": "gray", "vmin": 0, "vmax": np.percentile(subject[middle], 99.5)}
    row[0].imshow(subject[middle].T, origin="lower", **limits)
    row[1].imshow(code[middle].T, origin="lower", cmap="nipy_spectral")
    row[2].imshow(found[middle].T, origin="lower", **limits)
for axis, title in zip(axes[0], ("Slice", "Codes", "Reconstruction")):
    axis.set_title(title)
for axis in axes.flat:
    axis.set_axis_off()
fig.savefig("vqvae_slices.png", dpi=150)

###############################################################################
# .. rst-class:: centered small fst-italic fw-semibold
#
# A slice of each subject, its codes, and what the decoder makes of them.
#
#
# Results go back into the axes of the file, with its affine. ``encode_images`` and
# ``save_codes`` write codes as ``dipy_encode_vqvae`` does: with an affine that lays them
# over the image, and with all that ``dipy_decode_vqvae`` needs in the header.

save_nifti("restored.nii.gz", np.moveaxis(restored[0], 0, 2), affines[0])
coded = encode_images(
    fit, slices[0], layout=Layout(2, slice_axis=2), mask=inside[0], affine=affines[0]
)
save_codes("codes.nii.gz", coded)
fit.save("vqvae.safetensors")

###############################################################################
# A PixelCNN learns how likely each code is given those before it. Grids may differ in
# size, and codes outside the brain do not count.

prior = dv.PixelCNNModel(
    n_codes=fit.n_codes, n_channels=32, n_layers=4, dropout=0.2, random_seed=1
).fit(codes, mask=where, spatial_dims=2, n_epochs=40, batch_size=8)
bits = -prior.log_prob(codes, mask=where).sum() / np.log(2)
n_inside = sum(positions.sum() for positions in where)
print(f"{bits / n_inside:.2f} bits per code; without the prior {np.log2(32):.0f}")

###############################################################################
# New slices are new codes, decoded: here inside the outline of a slice of the second
# subject. The intensities are parts of a subject's own scale, as 0 and 1 are its 0.5 and
# 99.5 percentiles. From thirty slices the prior learns what goes with what nearby, and
# not what a brain looks like.

middle = len(inside[1]) // 2
outline, positions = inside[1][middle], where[1][middle]
drawn = prior.sample(8, grid_shape=positions.shape, mask=positions, random_seed=3)
samples = fit.decode(drawn, image_shape=outline.shape)
samples[:, ~outline] = 0

fig, axes = plt.subplots(2, 4, figsize=(8, 4), layout="constrained")
for axis, sample in zip(axes.flat, samples):
    axis.imshow(sample.T, origin="lower", cmap="gray", vmin=0, vmax=1)
    axis.set_axis_off()
fig.savefig("vqvae_samples.png", dpi=150)

###############################################################################
# .. rst-class:: centered small fst-italic fw-semibold
#
# Slices that the prior draws, in the order in which they were drawn.
#
#
# The same from the command line::
#
#     dipy_fit_vqvae S0_10slices.nii.gz aniso_vox.nii.gz --scaling volume --n_epochs 120
#     dipy_reconstruct_vqvae vqvae.safetensors S0_10slices.nii.gz
#     dipy_encode_vqvae vqvae.safetensors S0_10slices.nii.gz
#
#
# References
# ----------
#
# .. footbibliography::
#

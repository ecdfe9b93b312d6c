"""
===============================================
How many codes, how coarse a grid?
===============================================

``n_codes`` and ``downsampling`` decide how many bits an image takes, and how well it comes
back. Neither number tells the other: a model is good only in comparison with others of the
same rate. This example fits small models to scikit-learn's digits and draws the
rate-distortion curve. For your own images, do the same with an hour or two, and take the
smallest model whose error you can accept.

"""

import matplotlib.pyplot as plt
import numpy as np

import dipy_vqvae as dv
from dipy_vqvae.experiment import load_digits
from dipy_vqvae.metrics import psnr

digits = load_digits()
train, test = digits.train_images, digits.test_images[:100]

###############################################################################
# The rate is measured in two ways. Without a prior, a code takes log2(K) bits. With the
# frequencies of the codes it takes less: the logarithm of their perplexity. A prior, as in
# the other examples, takes less again.

settings = [(k, factor) for factor in (7, 4, 2) for k in (16, 128)]
points = {}
for n_codes, downsampling in settings:
    model = dv.VQVAEModel(
        n_codes=n_codes, downsampling=downsampling, n_channels=24, n_blocks=1
    )
    fit = model.fit(train, n_epochs=4)
    restored = fit.predict(test)
    n_positions = np.prod(fit.latent_shape)
    perplexity = fit.usage(test).perplexity
    rate = n_positions * np.log2(perplexity)
    error = psnr(test, restored, data_range=255.0).mean()
    points[n_codes, downsampling] = (rate, error, restored[:8])
    print(
        f"{n_codes} codes, blocks of {downsampling} x {downsampling}: "
        f"{n_positions * np.log2(n_codes):.0f} bits at most, "
        f"{rate:.0f} by the frequencies, {error:.1f} dB"
    )

###############################################################################
# Smaller blocks cost more and restore better. At equal rate, compare a fine grid of few
# codes with a coarse grid of many.

figure, axis = plt.subplots(figsize=(5.5, 4), layout="constrained")
for factor in (7, 4, 2):
    line = [points[k, factor][:2] for k in (16, 128)]
    axis.plot(*np.transpose(line), "o-", label=f"blocks of {factor} x {factor}")
    for k, point in zip((16, 128), line):
        axis.annotate(f"K = {k}", point, xytext=(5, -11), textcoords="offset points")
axis.set(
    xlabel="bits for an image, by the frequencies", ylabel="PSNR, dB", xscale="log"
)
axis.margins(x=0.2)
axis.legend()
figure.savefig("rate_distortion.png", dpi=100)

###############################################################################
# What the numbers look like.

figure, axes = plt.subplots(
    1 + len(settings), 8, figsize=(6.5, 6.5), layout="constrained"
)
rows = [("Image", test[:8])]
rows += [(f"K = {k}, {f} x {f}", points[k, f][2]) for k, f in settings]
for row, (name, pictures) in zip(axes, rows):
    row[0].set_title(name, loc="left", fontsize=8)
    for axis, picture in zip(row, pictures):
        axis.imshow(picture, cmap="gray_r", vmin=0, vmax=255)
        axis.set_axis_off()
figure.savefig("rate_distortion_images.png", dpi=100)

###############################################################################
# Other settings move along such a curve without another grid: ``rate_weight`` puts a
# price on bits in the training, and ``dv.compress_images(…, rate=…)`` when images are
# encoded.

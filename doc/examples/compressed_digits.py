"""
=====================================
Images in a few bits
=====================================

With a prior, codes become as many bits as the prior says of them :footcite:p:`Bamler2022`.
``compress_images`` writes images into one short string of bytes, and ``decompress_images``
gives back what ``predict`` would give, bit for bit, on any machine that has the two models.

The models are those of ``dv.load("mnist")``, which come with the package. They have learnt
from MNIST, and the digits here are those of scikit-learn: images like those of the training
would be shorter still.

"""

import zlib

import matplotlib.pyplot as plt
import numpy as np

import dipy_vqvae as dv
from dipy_vqvae.experiment import load_digits
from dipy_vqvae.metrics import psnr

vqvae, prior = dv.load("mnist")
images = load_digits().test_images[:24]

content = dv.compress_images(vqvae, prior, images)
restored = dv.decompress_images(vqvae, prior, content)
assert np.array_equal(restored, vqvae.predict(images))
print(f"{images.nbytes} bytes of pixels, {len(zlib.compress(images, 9))} with zlib,")
print(f"{len(content)} here: {8 * len(content) / len(images):.0f} bits for a digit")

###############################################################################
# What the prior says of the codes is a bound for their part of the file.

codes = vqvae.encode(images)
bits = -prior.log_prob(codes).sum() / np.log(2)
print(f"{bits / 8:.0f} bytes by the prior")

###############################################################################
# ``rate`` sets the price on each bit when images are encoded: the same models, a curve of
# sizes and errors. The error is measured against the images, which were not compressed
# before.

rates = (0.01, 0.05, 0.3)
curve, rows = [], []
for rate in rates:
    packed = dv.compress_images(vqvae, prior, images, rate=rate)
    decoded = dv.decompress_images(vqvae, prior, packed)
    error = psnr(images, decoded, data_range=255.0).mean()
    curve.append((8 * len(packed) / len(images), error))
    rows.append(decoded[:8])
    print(f"rate {rate:g}: {curve[-1][0]:.0f} bits, {error:.1f} dB")

figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
axis.plot(*np.transpose(curve), "o-")
for rate, point in zip(rates, curve):
    axis.annotate(f"{rate:g}", point, xytext=(6, -10), textcoords="offset points")
axis.set(xlabel="bits for a digit", ylabel="PSNR, dB", title="Price on each bit")
figure.savefig("compression_curve.png", dpi=100)

###############################################################################
# The digits, and what they become at each price.

figure, axes = plt.subplots(1 + len(rows), 8, figsize=(7, 5.5), layout="constrained")
names = ("Image", *(f"rate {rate:g}" for rate in rates))
for row, name, pictures in zip(axes, names, (images[:8], *rows)):
    row[0].set_title(name, loc="left", fontsize=9)
    for axis, picture in zip(row, pictures):
        axis.imshow(picture, cmap="gray_r", vmin=0, vmax=255)
        axis.set_axis_off()
figure.savefig("compressed_digits.png", dpi=100)

###############################################################################
# The same with commands::
#
#     dipy_compress_vqvae model/vqvae.safetensors model/pixelcnn.safetensors "subjects/test/*.nii.gz" --rate 0.01 --out_dir packed
#     dipy_decompress_vqvae model/vqvae.safetensors model/pixelcnn.safetensors packed --out_dir scans
#
#
# References
# ----------
#
# .. footbibliography::
#

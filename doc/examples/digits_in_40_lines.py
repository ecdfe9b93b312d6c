"""
=====================================
Digits in forty lines
=====================================

A VQ-VAE :footcite:p:`vandenOord2017` and a PixelCNN prior :footcite:p:`vandenOord2016b`
from training to new images. The digits are those of scikit-learn, enlarged to the size of
MNIST's: 1,437 to train on, and no network is needed. With ``dv.load_mnist(dv.fetch_mnist())``
in their place, the script downloads MNIST, and its 60,000 digits make a better model in a
few minutes.

"""

import matplotlib.pyplot as plt
import numpy as np

import dipy_vqvae as dv
from dipy_vqvae.experiment import load_digits
from dipy_vqvae.metrics import psnr
from dipy_vqvae.plotting import plot_reconstructions, plot_samples

digits = load_digits()
train, test = digits.train_images, digits.test_images
print(f"{len(train)} training digits, {len(test)} held out, {train.shape[1:]} pixels")

###############################################################################
# The VQ-VAE learns a grid of 7 x 7 codes for each digit.

fit = dv.VQVAEModel(n_codes=64, n_channels=32).fit(train, n_epochs=6)
codes = fit.encode(train)
print(f"codes of a digit: {codes.shape[1:]}, {fit.usage(train).n_used} of 64 in use")

restored = fit.predict(test)
print(f"held out: {psnr(test, restored, data_range=255.0).mean():.1f} dB")

figure, _ = plot_reconstructions(fit, test, n=6)
figure.savefig("digits_restored.png", dpi=100)

###############################################################################
# The prior learns which codes follow which. Its code length, in bits, is what an image
# costs; without a prior each code costs log2(64) = 6 bits.

prior = dv.PixelCNNModel(n_codes=64, n_channels=32, dropout=0.1).fit(codes, n_epochs=8)
bits = -prior.log_prob(fit.encode(test)).mean() / np.log(2)
print(f"held out: {bits:.0f} bits; without the prior {6 * codes[0].size} bits")

###############################################################################
# New digits.

figure, _ = plot_samples(fit, prior, n=24, n_columns=8, random_seed=1)
figure.savefig("digits_sampled.png", dpi=100)
plt.show()

###############################################################################
# References
# ----------
#
# .. footbibliography::
#

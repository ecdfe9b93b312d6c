"""
=====================================
Half an image, completed by a prior
=====================================

A PixelCNN prior :footcite:p:`vandenOord2016b` gives the probability of each code given the
codes before it, in raster order: row by row from the top. So it can continue an image of
which the upper half is known. Several draws show what the lower half could be.

The models are those of ``dv.load("mnist")``, which come with the package. The digits are
those of scikit-learn, which the models have not been trained on.

"""

import matplotlib.pyplot as plt
import numpy as np

import dipy_vqvae as dv
from dipy_vqvae.experiment import load_digits

vqvae, prior = dv.load("mnist")
digits = load_digits()
# One each of six digits.
chosen = [
    np.flatnonzero(digits.test_labels == label)[3] for label in (0, 2, 3, 5, 7, 9)
]
images = digits.test_images[chosen]
codes = vqvae.encode(images)
print(f"{images.shape[1:]} pixels, {codes.shape[1:]} codes")

###############################################################################
# ``keep`` says which codes stay. Here the upper four rows of seven.

keep = np.zeros(codes.shape[1:], dtype=bool)
keep[:4] = True
n_draws = 5
draws = [
    vqvae.decode(prior.sample(len(codes), codes=codes, keep=keep, random_seed=seed))
    for seed in range(n_draws)
]

###############################################################################
# The first column is the digit, the second one what is known. The others are completions.

block = images.shape[1] // codes.shape[1]
known = images.copy()
known[:, keep.sum(axis=0).max() * block :] = 0
columns = [images, known, *draws]
titles = ["Digit", "Known", *(f"Draw {i + 1}" for i in range(n_draws))]
figure, axes = plt.subplots(
    len(images), len(columns), figsize=(7, 6), layout="constrained"
)
for column, (title, pictures) in enumerate(zip(titles, columns)):
    axes[0, column].set_title(title, fontsize=9)
    for axis, picture in zip(axes[:, column], pictures):
        axis.imshow(picture, cmap="gray_r", vmin=0, vmax=255)
        axis.set_axis_off()
figure.savefig("completed_digits.png", dpi=100)

###############################################################################
# The prior also says how likely a digit is as a whole. A digit of which the lower half
# belongs to another one takes more bits.

mixed = codes.copy()
mixed[:, 4:] = np.roll(codes, 1, axis=0)[:, 4:]
for name, grids in (("digits", codes), ("with another lower half", mixed)):
    print(f"{name}: {-prior.log_prob(grids).mean() / np.log(2):.0f} bits")

###############################################################################
# A draw knows only what comes before it in raster order: to complete an upper half from
# the lower one, a prior that was fitted with ``both_directions=True`` draws in the
# reverse order (``reverse=True``).
#
# References
# ----------
#
# .. footbibliography::
#

"""
==============================================
Samples of a class, and of an amount of ink
==============================================

A prior can be told what kind of image it is about: a class, such as a diagnosis or a digit,
and numbers, such as an age or the place of a slice :footcite:p:`vandenOord2016b`. It then
samples images of the kind that is asked for.

Here the classes are the ten digits of scikit-learn, and the number is their amount of ink.
The VQ-VAE is that of ``dv.load("mnist")``, which comes with the package; the prior is fitted
to its codes.

"""

import matplotlib.pyplot as plt
import numpy as np

import dipy_vqvae as dv
from dipy_vqvae.experiment import load_digits

vqvae = dv.load("mnist").vqvae
digits = load_digits()
codes = vqvae.encode(digits.train_images)
labels = digits.train_labels.astype(int)
ink = digits.train_images.mean(axis=(1, 2)) / 255
print(
    f"{len(codes)} grids of {codes.shape[1:]} codes, ink {ink.min():.2f}–{ink.max():.2f}"
)

###############################################################################
# ``labels`` are classes, ``covariates`` numbers by name.

prior = dv.PixelCNNModel(
    n_codes=vqvae.n_codes, n_channels=32, n_layers=3, n_attention=0, random_seed=1
).fit(codes, labels=labels, covariates={"ink": ink}, n_epochs=16)

###############################################################################
# The middle half of the training digits by ink gives the range to ask for.

low, high = np.quantile(ink, (0.25, 0.75))
asked = np.linspace(low, high, 5)
grid = [(label, amount) for amount in asked for label in range(10)]
asked_labels, asked_ink = np.array(grid).T
samples = vqvae.decode(
    prior.sample(
        len(grid),
        labels=asked_labels.astype(int),
        covariates={"ink": asked_ink},
        random_seed=2,
    )
)

figure, axes = plt.subplots(5, 10, figsize=(7, 3.8), layout="constrained")
for axis, sample in zip(axes.flat, samples):
    axis.imshow(sample, cmap="gray_r", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
for row, amount in zip(axes, asked):
    row[0].set_ylabel(f"{amount:.2f}", rotation=0, ha="right", va="center")
for label, axis in enumerate(axes[0]):
    axis.set_title(str(label))
figure.supylabel("ink that is asked for")
figure.savefig("conditional_samples.png", dpi=100)

###############################################################################
# Do samples have the ink that was asked for? Samples of one digit tell.

n = 60
requested = np.linspace(low, high, n)
threes = vqvae.decode(
    prior.sample(n, labels=3, covariates={"ink": requested}, random_seed=3)
)
measured = threes.mean(axis=(1, 2)) / 255
print(f"correlation {np.corrcoef(requested, measured)[0, 1]:.2f}")

figure, axis = plt.subplots(figsize=(4, 3.5), layout="constrained")
axis.plot(requested, measured, "o", alpha=0.6)
axis.plot([low, high], [low, high], color="gray")
axis.set(xlabel="ink that was asked for", ylabel="ink of the sample", title="Threes")
figure.savefig("conditional_ink.png", dpi=100)

###############################################################################
# A prior with classes is a classifier as well: the class under which the codes of an image
# are likeliest.

test_codes = vqvae.encode(digits.test_images)
test_ink = digits.test_images.mean(axis=(1, 2)) / 255
log_probs = [
    prior.log_prob(
        test_codes, labels=np.full(len(test_codes), k), covariates={"ink": test_ink}
    )
    for k in range(10)
]
accuracy = np.mean(np.argmax(log_probs, axis=0) == digits.test_labels)
print(f"accuracy on held-out digits {accuracy:.3f}")

###############################################################################
# References
# ----------
#
# .. footbibliography::
#

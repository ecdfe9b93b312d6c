"""
=====================================
Codes as features of a classifier
=====================================

A fitted VQ-VAE describes an image by a few dozen integers. This example reads them as
features: a classifier learns digits from their codes. The VQ-VAE is that of
``dv.load("mnist")``, which comes with the package; it has seen no label, and none of these
digits, which are scikit-learn's.

"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.preprocessing import OneHotEncoder

import dipy_vqvae as dv
from dipy_vqvae.experiment import load_digits

vqvae = dv.load("mnist").vqvae
digits = load_digits()
codes = vqvae.encode(digits.train_images)
test_codes = vqvae.encode(digits.test_images)
print(f"{digits.train_images[0].size} pixels, {codes[0].size} codes")

###############################################################################
# Codes are names, not numbers: code 7 is not between codes 6 and 8. There are two ways to
# read them. Either each code is a category of its own, at each position, or it is
# replaced by its entry in the codebook, a short vector in which similar codes are near
# one another.

encoder = OneHotEncoder(handle_unknown="ignore")
categories = encoder.fit_transform(codes.reshape(len(codes), -1))
test_categories = encoder.transform(test_codes.reshape(len(test_codes), -1))

entries = vqvae.codebook[codes].reshape(len(codes), -1)
test_entries = vqvae.codebook[test_codes].reshape(len(test_codes), -1)
pixels = digits.train_images.reshape(len(codes), -1) / 255
test_pixels = digits.test_images.reshape(len(test_codes), -1) / 255

###############################################################################
# A linear classifier for each, with few labels and with all.

features = {
    "codes as categories": (categories, test_categories),
    "codebook entries": (entries, test_entries),
    "pixels": (pixels, test_pixels),
}
labels, test_labels = digits.train_labels, digits.test_labels
sizes = (50, 200, len(labels))
accuracies = {}
for name, (train, test) in features.items():
    accuracies[name] = [
        LogisticRegression(max_iter=200)
        .fit(train[:n], labels[:n])
        .score(test, test_labels)
        for n in sizes
    ]
    print(name, *(f"{accuracy:.3f}" for accuracy in accuracies[name]))

figure, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
for name, values in accuracies.items():
    axis.plot(sizes, values, "o-", label=name)
axis.set(xlabel="labelled digits", ylabel="accuracy, held out", xscale="log")
axis.legend()
figure.savefig("features_accuracy.png", dpi=100)

###############################################################################
# Which digits are taken for which, by codes as categories.

classifier = LogisticRegression(max_iter=200).fit(categories, labels)
display = ConfusionMatrixDisplay.from_predictions(
    test_labels, classifier.predict(test_categories), cmap="Blues", colorbar=False
)
display.figure_.savefig("features_confusion.png", dpi=100)

###############################################################################
# Which code speaks for which digit: the weights of the classifier at one position, of the
# codes that occur there.

centre = codes[0].size // 2
chosen = [i for i, _ in enumerate(encoder.categories_) if i == centre]
start = sum(len(values) for values in encoder.categories_[:centre])
names = encoder.categories_[chosen[0]]
weights = classifier.coef_[:, start : start + len(names)]
strongest = np.argsort(np.abs(weights).max(axis=0))[-10:]
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
shown = axis.imshow(weights[:, strongest], cmap="RdBu_r", vmin=-1, vmax=1)
axis.set_xticks(range(len(strongest)), [str(names[i]) for i in strongest])
axis.set_yticks(range(10))
axis.set(xlabel="code at the centre", ylabel="digit")
figure.colorbar(shown, label="weight")
figure.savefig("features_weights.png", dpi=100)

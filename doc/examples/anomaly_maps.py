"""
==============================================
What in an image is unlike healthy ones
==============================================

With models of healthy subjects, other healthy subjects tell what values a healthy image has
at each place, and so how often one is taken for unlike. This example shows the whole way on
drawn heads, which need no data: ellipses with two dark ventricles and noise. Patients
have a bright spot, and it is known where. For scans, and what the detector finds there, see
the :doc:`tutorial </interfaces/anomaly_flow>` and the benchmark ``benchmarks/anomaly.py``.

The maps do not say what is diseased, and are not for clinical use.

"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter

import dipy_vqvae as dv

###############################################################################
# Heads of 40 x 40 pixels: no two are alike in size, place, brightness and texture.

N = 40
y, x = np.mgrid[:N, :N] - (N - 1) / 2


def head(rng):
    """Draw a head and its mask."""
    a, b = rng.uniform(13, 16), rng.uniform(15, 18)
    u, v = x - rng.normal(0, 0.7), y - rng.normal(0, 0.7)
    mask = (u / a) ** 2 + (v / b) ** 2 < 1
    image = 100 + 8 * gaussian_filter(rng.normal(size=(N, N)), 2) * 7
    width = rng.uniform(1.5, 2.5)
    for side in (-4, 4):
        image[((u - side) / width) ** 2 + (v / 6) ** 2 < 1] = 40
    image = gaussian_filter(image, 0.7) + rng.normal(0, 3, (N, N))
    return rng.uniform(0.9, 1.1) * image * mask, mask


def heads(n, seed):
    """Draw so many heads."""
    rng = np.random.default_rng(seed)
    images, masks = zip(*(head(rng) for _ in range(n)))
    return np.array(images), np.array(masks)


###############################################################################
# The models learn from healthy heads. A prior for both directions judges each code by
# those before and by those after it.

train, train_masks = heads(200, seed=0)
vqvae = dv.VQVAEModel(n_codes=32, n_channels=32, scaling="volume", random_seed=1).fit(
    list(train[:, None]), mask=list(train_masks[:, None]), n_epochs=8, batch_size=16
)
codes = vqvae.encode(list(train[:, None]), mask=list(train_masks[:, None]))
positions = [vqvae.positions_inside(mask) for mask in train_masks[:, None]]
prior = dv.PixelCNNModel(
    n_codes=32, n_channels=24, dropout=0.1, both_directions=True, random_seed=1
).fit(codes, mask=positions, n_epochs=5)

###############################################################################
# Other healthy heads calibrate the detector: at least 19 for a rate of 0.05.

healthy, healthy_masks = heads(40, seed=1)
detector = dv.AnomalyModel(vqvae, prior, n_restorations=4, smoothing=1.5).fit(
    list(healthy[:, None]), mask=list(healthy_masks[:, None])
)

###############################################################################
# Patients: a bright spot of 2 to 4 pixels' radius at a random place.

patients, patient_masks = heads(12, seed=2)
rng = np.random.default_rng(3)
spots = np.zeros_like(patient_masks)
for i in range(len(patients)):
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(2, 4)
    distance = np.hypot(x - 7 * np.cos(angle), y - 9 * np.sin(angle))
    spots[i] = distance < radius
    patients[i] += 45 * gaussian_filter(spots[i].astype(float), 0.7)
subjects = list(patients[:, None])
options = {"mask": list(patient_masks[:, None])}

scores = np.concatenate(detector.score_map(subjects, **options))
lesions = np.concatenate(detector.lesions(subjects, alpha=0.05, **options)) > 0
restored = np.concatenate(detector.restore(subjects, **options).mean)

###############################################################################
# ``alpha`` is the share of healthy subjects with any voxel found, which new healthy heads
# confirm as far as there are few of them.

others, other_masks = heads(40, seed=4)
found = detector.lesions(list(others[:, None]), mask=list(other_masks[:, None]))
n_alarms = sum(bool(lesion.any()) for lesion in found)
n_hits = sum((lesion & spot).any() for lesion, spot in zip(lesions, spots))
print(f"spots found: {n_hits} of {len(spots)}")
print(f"healthy heads with anything found: {n_alarms} of {len(others)}")

###############################################################################
# Image, what it would be if it were healthy, the score in standard deviations of healthy
# heads, and what is above the threshold, with the outline of the true spot.

figure, axes = plt.subplots(4, 6, figsize=(8, 5.6), layout="constrained")
gray = {"cmap": "gray", "vmin": 0, "vmax": 180}
rows = (
    ("Image", patients, gray),
    ("Restored", restored, gray),
    ("Score", scores, {"cmap": "RdBu_r", "vmin": -8, "vmax": 8}),
    ("Found", lesions, {"cmap": "gray", "vmin": 0, "vmax": 1}),
)
for row, (name, pictures, settings) in zip(axes, rows):
    row[0].set_ylabel(name)
    for axis, picture, spot in zip(row, pictures, spots):
        axis.imshow(picture, origin="lower", **settings)
        axis.set(xticks=[], yticks=[])
        if name == "Found":
            axis.contour(spot, levels=[0.5], colors="tab:red", linewidths=1)
figure.savefig("anomaly_maps.png", dpi=100)

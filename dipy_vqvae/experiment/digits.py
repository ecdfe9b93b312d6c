"""The digits that scikit-learn ships, in the shape of MNIST: no network needed."""

import numpy as np

from dipy_vqvae.data import MNIST

# A digit of MNIST fills 20 x 20 pixels of 28 x 28: so these do.
_INK_SIZE = 20
_IMAGE_SIZE = 28
# One image in five is for testing: 360 of 1,797.
_TEST_EVERY = 5


def load_digits():
    """Load 1,797 handwritten digits as images of 28 x 28 pixels.

    Real digits of 8 x 8 pixels and 17 grey levels, enlarged to the size that
    digits have in MNIST, black border included. The split is by rule, not by
    chance: within each digit, every fifth image is for testing.

    Returns
    -------
    digits : MNIST
        1,437 images to train on and 360 to test, with their labels.

    Notes
    -----
    The UCI data set "Optical Recognition of Handwritten Digits" (E. Alpaydin and
    C. Kaynak), its test part, as in :func:`sklearn.datasets.load_digits`.
    """
    from sklearn.datasets import load_digits as load_small_digits

    small = load_small_digits()
    images = _enlarge(small.images)
    labels = small.target.astype(np.uint8)
    is_test = _stratified_test(labels)
    return MNIST(
        train_images=images[~is_test],
        train_labels=labels[~is_test],
        test_images=images[is_test],
        test_labels=labels[is_test],
    )


def _enlarge(images):
    """(N, 8, 8), 0 to 16 -> (N, 28, 28) uint8, 0 to 255."""
    from scipy import ndimage

    # Cubic splines go through the pixels' values, so that strokes stay as bright
    # as they were; what overshoots is clipped. Outside, paper is empty.
    one_axis = ndimage.zoom(
        np.eye(images.shape[-1]),
        (_INK_SIZE / images.shape[-1], 1),
        order=3,
        mode="grid-constant",
        grid_mode=True,
    )  # (20, 8)
    large = one_axis @ (images * (255 / 16)) @ one_axis.T
    large = np.clip(np.rint(large), 0, 255).astype(np.uint8)
    border = (_IMAGE_SIZE - _INK_SIZE) // 2
    return np.pad(large, ((0, 0), (border, border), (border, border)))


def _stratified_test(labels):
    """Every fifth of the images sorted by label, in their order within it."""
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[np.argsort(labels, kind="stable")[::_TEST_EVERY]] = True
    return is_test

"""The images of the experiment: MNIST, or the digits of scikit-learn."""

from dataclasses import dataclass, replace
import logging

import numpy as np

from dipy_vqvae.data import MNIST, fetch_mnist, load_mnist

logger = logging.getLogger("dipy_vqvae")

# As in MNIST, a digit fills 20 x 20 of 28 x 28 pixels.
_INK_SIZE = 20
_IMAGE_SIZE = 28
# One image in five is held out for testing: 360 of 1,797.
_TEST_EVERY = 5


@dataclass(frozen=True, eq=False)
class ExperimentData:
    """Training and test images with their labels.

    Attributes
    ----------
    name : {"mnist", "digits"}
        Data set.
    title : str
        Its name in figures and report.
    train_images, test_images : array (N, 28, 28), uint8
        Pixels, 0 (background) to 255.
    train_labels, test_labels : array (N,), uint8
        Digits 0 to 9.
    """

    name: str
    title: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def limited(self, n_train, n_test):
        """Keep the first `n_train` and `n_test` images; None keeps all."""
        return replace(
            self,
            train_images=self.train_images[:n_train],
            train_labels=self.train_labels[:n_train],
            test_images=self.test_images[:n_test],
            test_labels=self.test_labels[:n_test],
        )


def find_data(*, mnist_dir=None, digits=False, verbose=False):
    """Load MNIST, or fall back to the digits of scikit-learn."""
    if digits:
        return _digits()
    if mnist_dir is not None:
        return _mnist(load_mnist(mnist_dir))
    try:
        return _mnist(load_mnist(fetch_mnist(verbose=verbose)))
    except OSError as error:
        logger.warning("%s", error)
        logger.warning(
            "Using the 1,797 digits of scikit-learn in place of MNIST: the results "
            "cannot be compared with those on MNIST"
        )
        return _digits()


def _mnist(images):
    return ExperimentData(name="mnist", title="MNIST", **vars(images))


def _digits():
    return ExperimentData(
        name="digits",
        title="the 1,797 digits of scikit-learn, not MNIST",
        **vars(load_digits()),
    )


def load_digits():
    """Load scikit-learn's 1,797 handwritten digits as images of 28 x 28 pixels.

    The digits of 8 x 8 pixels and 17 grey levels are enlarged to 20 x 20 pixels and
    padded, as those of MNIST. Every fifth image of each digit is held out for testing.

    Notes
    -----
    The test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and
    C. Kaynak, UCI), as in :func:`sklearn.datasets.load_digits`.
    """
    from sklearn.datasets import load_digits as load_small_digits

    small = load_small_digits()
    images = _enlarge(small.images)
    labels = small.target.astype(np.uint8)
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[np.argsort(labels, kind="stable")[::_TEST_EVERY]] = True
    return MNIST(
        train_images=images[~is_test],
        train_labels=labels[~is_test],
        test_images=images[is_test],
        test_labels=labels[is_test],
    )


def _enlarge(images):
    """Enlarge (N, 8, 8), 0 to 16, to (N, 28, 28) uint8, 0 to 255."""
    from scipy import ndimage

    # Cubic splines interpolate: strokes keep their intensity. Overshoot is clipped.
    resample = ndimage.zoom(
        np.eye(images.shape[-1]),
        (_INK_SIZE / images.shape[-1], 1),
        order=3,
        mode="grid-constant",
        grid_mode=True,
    )  # (20, 8)
    large = resample @ (images * (255 / 16)) @ resample.T
    large = np.clip(np.rint(large), 0, 255).astype(np.uint8)
    border = (_IMAGE_SIZE - _INK_SIZE) // 2
    return np.pad(large, ((0, 0), (border, border), (border, border)))


def unit(images):
    """Scale bytes to [0, 1], float32."""
    return np.asarray(images, np.float32) / np.float32(255)


def one_of_each(labels, n):
    """Choose `n` indices: the first image of each label, then the first others.

    Examples
    --------
    >>> one_of_each([1, 0, 1, 1], 3)
    array([1, 0, 2])
    """
    labels = np.asarray(labels)
    first = np.unique(labels, return_index=True)[1]
    others = np.setdiff1d(np.arange(len(labels)), first)
    return np.concatenate([first, others])[:n]

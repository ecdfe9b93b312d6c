"""The images of the experiment: MNIST, or the digits that need no network."""

from dataclasses import dataclass, replace
import logging

import numpy as np

from dipy_vqvae.data import fetch_mnist, load_mnist
from dipy_vqvae.experiment.digits import load_digits

logger = logging.getLogger("dipy_vqvae")


@dataclass(frozen=True, eq=False)
class ExperimentData:
    """Images and labels, apart for training and testing.

    Attributes
    ----------
    name : {"mnist", "digits"}
        Which images they are.
    title : str
        What figures and report call them.
    train_images, test_images : array (N, 28, 28), uint8
    train_labels, test_labels : array (N,), uint8
    """

    name: str
    title: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def limited(self, n_train, n_test):
        """The first images only; None for all."""
        return replace(
            self,
            train_images=self.train_images[:n_train],
            train_labels=self.train_labels[:n_train],
            test_images=self.test_images[:n_test],
            test_labels=self.test_labels[:n_test],
        )


def find_data(*, mnist_dir=None, digits=False, verbose=False):
    """Find MNIST, or fall back to the digits of scikit-learn.

    Parameters
    ----------
    mnist_dir : str or Path, optional
        Folder of the MNIST files. Without it they are looked for under
        ``DIPY_HOME/mnist`` and fetched if need be.
    digits : bool, optional
        Take the digits of scikit-learn.
    verbose : bool, optional
        Show the progress of a download.

    Returns
    -------
    data : ExperimentData

    Raises
    ------
    OSError
        If `mnist_dir` is given and does not hold MNIST. Where it is not given and
        MNIST cannot be had, there is a warning, and the digits take its place.
    """
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
            "are of these digits and not comparable with those of MNIST"
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


def unit(images):
    """Bytes as numbers in [0, 1], float32."""
    return np.asarray(images, np.float32) / np.float32(255)


def one_of_each(labels, n):
    """Images to show: the first of each label in order, then the first others.

    Parameters
    ----------
    labels : array (N,)
        Label of each image.
    n : int
        How many to show, fewer if there are fewer.

    Returns
    -------
    indices : array (n,)

    Examples
    --------
    >>> one_of_each([1, 0, 1, 1], 3)
    array([1, 0, 2])
    """
    labels = np.asarray(labels)
    first = np.unique(labels, return_index=True)[1]
    others = np.setdiff1d(np.arange(len(labels)), first)
    return np.concatenate([first, others])[:n]

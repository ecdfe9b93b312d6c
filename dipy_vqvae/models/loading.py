"""Fits from a file or by name."""

import os
from typing import NamedTuple

from dipy_vqvae.anomaly import AnomalyFit
from dipy_vqvae.prior import PixelCNNFit
from dipy_vqvae.storage import fetch_model, model_kind, named_models
from dipy_vqvae.vqvae import VQVAEFit

_FITS = {"vqvae": VQVAEFit, "pixelcnn": PixelCNNFit, "anomaly": AnomalyFit}


class ModelPair(NamedTuple):
    """A VQ-VAE and the prior for its codes.

    Attributes
    ----------
    vqvae : VQVAEFit
        Images to codes and back.
    prior : PixelCNNFit
        Probabilities of the codes.
    """

    vqvae: VQVAEFit
    prior: PixelCNNFit

    def _repr_html_(self):
        return self.vqvae._repr_html_() + self.prior._repr_html_()


def load(name_or_path, *, folder=None, use_cuda=False, verbose=False):
    """Load a fit from its file, or a model by its name.

    Parameters
    ----------
    name_or_path : str or Path
        File of a fit, or the name of a model: ``"mnist"`` comes with the package. A
        file that has the name of a model is meant with a folder: ``"./mnist"``.
    folder : str or Path, optional
        Folder with the files of a named model, for use without a network. By default
        a model that does not come with the package is downloaded, once, to DIPY's
        folder (``DIPY_HOME``).
    use_cuda : bool, optional
        Use a GPU. Without one there is a warning and the CPU is used.
    verbose : bool, optional
        Show the progress of downloads.

    Returns
    -------
    fit : VQVAEFit, PixelCNNFit, AnomalyFit or ModelPair
        What the file holds. A named model that has both is a pair,
        ``vqvae, prior = load("mnist")``.

    Raises
    ------
    ValueError
        For a name or file that cannot be used, or if a file has another checksum than
        the registry says.
    OSError
        For a file that is missing, or cannot be read or downloaded.

    Examples
    --------
    >>> vqvae, prior = load("mnist")
    >>> vqvae.decode(prior.sample(3)).shape
    (3, 28, 28)
    """
    name, models = os.fspath(name_or_path), named_models()
    if folder is None and name not in models:
        if not os.path.lexists(name):
            raise FileNotFoundError(
                f"{name}: no such file, nor the name of a model; there are "
                f"{', '.join(sorted(models))}"
            )
        return _load(name, use_cuda)
    paths = fetch_model(name, folder=folder, verbose=verbose)
    fits = [_load(path, use_cuda) for path in paths.values()]
    return fits[0] if len(fits) == 1 else ModelPair(*fits)


def _load(path, use_cuda):
    """Read a fit of any kind."""
    return _FITS[model_kind(path, tuple(_FITS))].load(path, use_cuda=use_cuda)

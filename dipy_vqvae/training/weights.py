"""Trained weights for a model, by the names that DIPY's networks use."""

from dipy_vqvae.storage import fetch_model


class HasWeights:
    """Load fits through a model; the class of the model sets `FIT`."""

    #: Class of the fit.
    FIT = None

    def load_model_weights(self, weights_path):
        """Read a fit from its file; the settings are those of the file.

        Parameters
        ----------
        weights_path : str or Path
            Model file.

        Returns
        -------
        fit : VQVAEFit or PixelCNNFit
            As :meth:`VQVAEFit.load` gives it. The model stays as it was.

        Raises
        ------
        ValueError
            For a file that is damaged, of another kind or of a newer version.
        OSError
            For a file that cannot be read.
        """
        return self.FIT.load(weights_path, use_cuda=self.use_cuda)

    def fetch_default_weights(self, *, name="mnist"):
        """Load a fit by its name; download it, if it does not come with the package.

        Parameters
        ----------
        name : str, optional
            Name of the model, see :func:`dipy_vqvae.load`.

        Returns
        -------
        fit : VQVAEFit or PixelCNNFit
            The model stays as it was.

        Raises
        ------
        ValueError
            If there is no such model, or its file has another checksum.
        OSError
            If it cannot be downloaded.
        """
        paths = fetch_model(name)
        if self.FIT.KIND not in paths:
            raise ValueError(f"{name!r} is a model without a {self.FIT.NAME}")
        return self.load_model_weights(paths[self.FIT.KIND])

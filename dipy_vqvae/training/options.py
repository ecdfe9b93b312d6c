"""The settings of a training."""

from dipy_vqvae.settings import TRAINING, Configured


class TrainingOptions(Configured):
    """Settings of :func:`dipy_vqvae.training.train`.

    Parameters
    ----------
    {settings}

    Raises
    ------
    ValueError
        For a setting that is not allowed.

    References
    ----------
    .. footbibliography::
    """

    SETTINGS = TRAINING

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        vars(self).update(self.checked())

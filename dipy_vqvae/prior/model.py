"""PixelCNN priors: how probable a grid of codes is, and new ones."""

from dipy_vqvae.device import device_of_training, seeded
from dipy_vqvae.prior.config import NETWORKS, PixelCNNConfig
from dipy_vqvae.prior.data import training_codes
from dipy_vqvae.prior.data import validation_codes as check_validation
from dipy_vqvae.prior.fit import PixelCNNFit
from dipy_vqvae.prior.task import PixelCNNTask
from dipy_vqvae.settings import check_choice, check_number, settings_of
from dipy_vqvae.storage import fingerprint
from dipy_vqvae.training import TrainingOptions, train

__all__ = ["PixelCNNFit", "PixelCNNModel"]


class PixelCNNModel:
    """Autoregressive prior over grids of codes.

    The probability of a grid is the product over its positions, in raster order,
    of the probability of each code given those before it
    :footcite:p:`vandenOord2016b`.

    Parameters
    ----------
    n_codes : int, optional
        Number of codes K, at least 2.
    kind : {"gated", "plain"}, optional
        Gated PixelCNN with one stack per axis and no blind spot, or the original
        experiment's plain one.
    n_channels : int, optional
        Width; by default 64 (gated) or 128 (plain).
    n_layers : int, optional
        Gated layers (default 6) or residual blocks (default 2).
    dropout : float, optional
        Share of the channels dropped in training, in [0, 1).
    mixed_precision : bool, optional
        Train in bfloat16; what is used afterwards is float32. Faster on processors
        that have it.
    random_seed : int, optional
        Seed of everything that is random in a fit.
    use_cuda : bool, optional
        Train on a GPU. Without one there is a warning and the CPU is used.

    Raises
    ------
    ValueError
        From ``fit``, for a setting out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> import dipy_vqvae as dv
    >>> codes = np.random.default_rng(0).integers(0, 4, (64, 3, 3))
    >>> model = dv.PixelCNNModel(n_codes=4, n_channels=8, n_layers=2)
    >>> prior = model.fit(codes, n_epochs=1)
    >>> prior.sample(5).shape
    (5, 3, 3)
    >>> prior.log_prob(codes).shape
    (64,)

    References
    ----------
    .. footbibliography::
    """

    def __init__(
        self,
        n_codes=128,
        *,
        kind="gated",
        n_channels=None,
        n_layers=None,
        dropout=0.0,
        mixed_precision=False,
        random_seed=0,
        use_cuda=False,
    ):
        self.n_codes = n_codes
        self.kind = kind
        self.n_channels = n_channels
        self.n_layers = n_layers
        self.dropout = dropout
        self.mixed_precision = mixed_precision
        self.random_seed = random_seed
        self.use_cuda = use_cuda

    def _config(self, grid_shape, n_classes=0, **found):
        check_number("n_codes", self.n_codes, at_least=2, whole=True)
        check_choice("kind", self.kind, NETWORKS)
        check_number("dropout", self.dropout, at_least=0, at_most=0.99)
        check_number("random_seed", self.random_seed, at_least=0, whole=True)
        n_channels, n_layers = {"gated": (64, 6), "plain": (128, 2)}[self.kind]
        if self.n_channels is not None:
            check_number("n_channels", self.n_channels, at_least=2, whole=True)
            n_channels = int(self.n_channels)
        if self.n_layers is not None:
            check_number("n_layers", self.n_layers, at_least=1, whole=True)
            n_layers = int(self.n_layers)
        return PixelCNNConfig(
            kind=self.kind,
            n_codes=int(self.n_codes),
            grid_shape=grid_shape,
            n_classes=n_classes,
            n_channels=n_channels,
            n_layers=n_layers,
            dropout=float(self.dropout),
            **found,
        )

    def fit(
        self,
        codes,
        *,
        mask=None,
        labels=None,
        spatial_dims=None,
        validation_codes=None,
        validation_mask=None,
        validation_labels=None,
        n_epochs=10,
        batch_size=None,
        learning_rate=1e-2,
        optimizer="muon",
        schedule="cosine",
        weight_decay=0.0,
        average_decay=None,
        patience=None,
        max_seconds=None,
        checkpoint=None,
        checkpoint_minutes=10.0,
        checkpoint_steps=None,
        verbose=False,
    ):
        """Train on grids of codes.

        Parameters
        ----------
        codes : int array, shape (N, *grid), or list of such arrays
            Codes in [0, K), one, two or three axes each. Grids of a list may differ
            in shape, and an entry may be one grid, of shape (*grid,).
        mask : bool array, shape (*grid,) or (N, *grid), or list of them, optional
            Positions that count. The codes elsewhere have no influence: the prior
            sees that they are outside, and not what they are. Grids with nothing
            inside are left out. Smaller grids of a list end where they end.
        labels : int array, shape (N,), optional
            Class of each grid, from 0 on: the prior is then conditioned on it.
        spatial_dims : int, optional
            Axes of a grid; needed for a list.
        validation_codes, validation_mask, validation_labels : optional
            Grids whose likelihood is recorded after each epoch, as the others.
        n_epochs : float, optional
            Passes over the codes.
        batch_size : int, optional
            Grids per step. By default 128 at most, and fewer of large grids, and of few
            of them, so that there are 50 steps in an epoch.
        learning_rate : float, optional
            Peak learning rate; Adam alone needs a lower one, about 2e-3.
        optimizer : {"muon", "adam"}, optional
            Muon for convolution kernels with Adam for the rest, which needs fewer
            epochs :footcite:p:`Jordan2024`, or Adam alone.
        schedule : {"cosine", "linear", "constant"}, optional
            Learning rate after the warm-up, see
            :class:`dipy_vqvae.training.loop.TrainingOptions`.
        weight_decay : float, optional
            Decoupled weight decay.
        average_decay : float, optional
            Decay of a moving average of the weights, which then is the result.
        patience : int, optional
            Stop after this many epochs without a lower validation loss.
        max_seconds : float, optional
            Limit of wall-clock time.
        checkpoint : str or Path, optional
            File to save the state of the training in; if it exists, the training
            continues from it.
        checkpoint_minutes : float, optional
            Time between two checkpoints within an epoch.
        checkpoint_steps : int, optional
            Steps between two checkpoints within an epoch, whichever comes first.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        fit : PixelCNNFit
            The trained prior. The model stays as it was.

        Raises
        ------
        ValueError, TypeError
            For codes, labels or settings that cannot be used.
        """
        n_codes = self._config(()).n_codes
        data, n_classes = training_codes(
            codes, mask, labels, n_codes=n_codes, spatial_dims=spatial_dims
        )
        sets = [data]
        if validation_codes is not None:
            held_out = check_validation(
                validation_codes,
                validation_mask,
                validation_labels,
                n_codes=n_codes,
                n_classes=n_classes,
                training=data,
            )
            sets.append(held_out)
        elif patience is not None:
            raise ValueError("patience needs validation_codes to look at")
        # Room for all of them: a held-out grid may be the largest.
        grids = {stack.shape[1:] for one in sets for stack in one.stacks}
        config = self._config(
            tuple(map(max, zip(*grids))),
            n_classes,
            outside_code=data.outside_code,
            mixed_grids=len(grids) > 1,
        )
        arrays = [one.to_array(config.grid_shape, n_codes) for one in sets]
        codes, labels = arrays[0]
        held_out = arrays[1] if validation_codes is not None else (None, None)
        options = TrainingOptions(
            n_epochs=n_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            schedule=schedule,
            weight_decay=weight_decay,
            average_decay=average_decay,
            patience=patience,
            max_seconds=max_seconds,
            checkpoint_minutes=checkpoint_minutes,
            checkpoint_steps=checkpoint_steps,
            random_seed=self.random_seed,
        )
        device = device_of_training(self.use_cuda)
        with seeded(self.random_seed):
            net = config.build().to(device)
        description = {
            "model": settings_of(self),
            "training_codes": _describe(codes, labels),
        }
        if validation_codes is not None:
            description["validation_codes"] = _describe(*held_out)
        task = PixelCNNTask(
            net,
            codes,
            labels=labels,
            mixed_precision=bool(self.mixed_precision),
            validation=held_out,
            description=description,
        )
        history = train(task, options, checkpoint=checkpoint, verbose=verbose)
        description["fitting"] = options.of_consequence()
        return PixelCNNFit(net.eval(), config, history=history, description=description)


def _describe(codes, labels):
    """What identifies a set of codes, for model files and checkpoints."""
    description = {
        "number": len(codes),
        "grid_shape": list(codes.shape[1:]),
        "fingerprint": fingerprint(codes),
    }
    if labels is not None:
        description["labels_fingerprint"] = fingerprint(labels)
    return description

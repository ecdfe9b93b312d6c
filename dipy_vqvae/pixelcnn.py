"""PixelCNN priors: how probable a grid of codes is, and new ones."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F

from dipy_vqvae.codes import check_codes, check_labels
from dipy_vqvae.device import choose_device, seeded
from dipy_vqvae.fingerprint import fingerprint
from dipy_vqvae.history import History
from dipy_vqvae.modelfile import load_model, save_model
from dipy_vqvae.nn.gated_pixelcnn import GatedPixelCNN
from dipy_vqvae.nn.plain_pixelcnn import PlainPixelCNN
from dipy_vqvae.pixelcnn_task import PixelCNNTask
from dipy_vqvae.sampling import sample_codes
from dipy_vqvae.settings import check_choice, check_number, load_arrays
from dipy_vqvae.training import TrainingOptions, train

NETWORKS = {"gated": GatedPixelCNN, "plain": PlainPixelCNN}
# Codes that are evaluated at a time, times K logits each.
POSITIONS_AT_A_TIME = 65_536


@dataclass(frozen=True)
class PixelCNNConfig:
    """All that is needed to build the network."""

    kind: str
    n_codes: int
    grid_shape: tuple
    n_classes: int
    n_channels: int
    n_layers: int
    dropout: float

    def build(self):
        """The network, with random weights."""
        return NETWORKS[self.kind](
            self.n_codes,
            self.grid_shape,
            n_classes=self.n_classes,
            n_channels=self.n_channels,
            n_layers=self.n_layers,
            dropout=self.dropout,
        )


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

    def _config(self, grid_shape, n_classes):
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
        )

    def fit(
        self,
        codes,
        *,
        labels=None,
        validation_codes=None,
        validation_labels=None,
        n_epochs=10,
        batch_size=128,
        learning_rate=3e-3,
        schedule="cosine",
        weight_decay=0.0,
        average_decay=None,
        patience=None,
        max_seconds=None,
        checkpoint=None,
        checkpoint_minutes=10.0,
        verbose=False,
    ):
        """Train on grids of codes.

        Parameters
        ----------
        codes : int array, shape (N, *grid)
            Codes in [0, K), one, two or three axes each.
        labels : int array, shape (N,), optional
            Class of each grid, from 0 on: the prior is then conditioned on it.
        validation_codes, validation_labels : arrays, optional
            Grids whose likelihood is recorded after each epoch.
        n_epochs : float, optional
            Passes over the codes.
        batch_size : int, optional
            Grids per step.
        learning_rate : float, optional
            Peak learning rate of Adam.
        schedule : {"cosine", "constant"}, optional
            Learning rate after the warm-up.
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
        config = self._config(np.shape(codes)[1:], 0)
        codes = check_codes(codes, n_codes=config.n_codes)
        n_classes = 0
        if labels is not None:
            labels = check_labels(labels, n=len(codes))
            n_classes = int(labels.max()) + 1
        config = self._config(codes.shape[1:], n_classes)
        if validation_codes is not None:
            validation_codes = check_codes(
                validation_codes,
                n_codes=config.n_codes,
                spatial_dims=codes.ndim - 1,
                name="validation_codes",
            )
            validation_labels = _match_labels(
                validation_labels, n_classes, len(validation_codes)
            )
        elif patience is not None:
            raise ValueError("patience needs validation_codes to look at")
        options = TrainingOptions(
            n_epochs=n_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule=schedule,
            weight_decay=weight_decay,
            average_decay=average_decay,
            patience=patience,
            max_seconds=max_seconds,
            checkpoint_minutes=checkpoint_minutes,
            random_seed=self.random_seed,
        )
        device = choose_device(self.use_cuda)
        with seeded(self.random_seed):
            net = to_layout(config.build()).to(device)
        description = self._description(codes, labels)
        task = PixelCNNTask(
            net,
            codes,
            labels=labels,
            mixed_precision=bool(self.mixed_precision),
            validation=(validation_codes, validation_labels),
            description=description,
        )
        history = train(task, options, checkpoint=checkpoint, verbose=verbose)
        return PixelCNNFit(net.eval(), config, history=history, description=description)

    def _description(self, codes, labels):
        training_codes = {
            "number": len(codes),
            "grid_shape": list(codes.shape[1:]),
            "fingerprint": fingerprint(codes),
        }
        if labels is not None:
            training_codes["labels_fingerprint"] = fingerprint(labels)
        return {"model": dict(vars(self)), "training_codes": training_codes}


def to_layout(net):
    """Channels-last weights where torch has that layout."""
    layouts = {2: torch.channels_last, 3: torch.channels_last_3d}
    if net.spatial_dims in layouts:
        net = net.to(memory_format=layouts[net.spatial_dims])
    return net


def _match_labels(labels, n_classes, n):
    """Labels as a prior needs them: none without classes, all of them with."""
    if not n_classes:
        if labels is not None:
            raise ValueError("labels were given, but the prior has no classes")
        return None
    if labels is None:
        raise ValueError(f"the prior needs labels: it has {n_classes} classes")
    return check_labels(labels, n=n, n_classes=n_classes)


class PixelCNNFit:
    """A trained prior.

    Made by :meth:`PixelCNNModel.fit` or :meth:`load`.

    Parameters
    ----------
    net : torch.nn.Module
        The trained network.
    config : PixelCNNConfig
        What it was built from.
    history : History
        Losses by epoch, in nats per code.
    description : dict
        Settings and training data.
    """

    def __init__(self, net, config, *, history, description):
        self.net = net
        self.config = config
        self.history = history
        self.description = description

    @property
    def n_codes(self):
        """Number of codes, K."""
        return self.config.n_codes

    @property
    def grid_shape(self):
        """Grid of the training codes."""
        return self.config.grid_shape

    @property
    def n_classes(self):
        """Number of class labels; 0 for a prior without labels."""
        return self.config.n_classes

    @property
    def _device(self):
        return next(self.net.parameters()).device

    def _logits(self, codes, labels, batch_size):
        """Batches of (slice, codes, logits ``(B, K, *grid)``)."""
        if batch_size is None:
            batch_size = max(1, POSITIONS_AT_A_TIME // codes[0].size)
        for start in range(0, len(codes), batch_size):
            part = slice(start, start + batch_size)
            batch = torch.from_numpy(codes[part]).to(self._device).long()
            batch_labels = None
            if labels is not None:
                batch_labels = torch.from_numpy(labels[part]).to(self._device)
            yield part, batch, self.net(batch, batch_labels)

    def _check(self, codes, labels):
        codes = check_codes(
            codes, n_codes=self.n_codes, spatial_dims=len(self.grid_shape)
        )
        return codes, _match_labels(labels, self.n_classes, len(codes))

    def log_prob(self, codes, *, labels=None, batch_size=None):
        """Natural logarithm of the probability of whole grids.

        Parameters
        ----------
        codes : int array, shape (N, *grid)
            Codes in [0, K).
        labels : int array, shape (N,), optional
            Class of each grid, for a prior with classes.
        batch_size : int, optional
            Grids at a time.

        Returns
        -------
        log_prob : array, shape (N,), float64
            Sum over the positions; divide by ``-log(2)`` for bits.
        """
        codes, labels = self._check(codes, labels)
        log_prob = np.empty(len(codes))
        with torch.inference_mode():
            for part, batch, logits in self._logits(codes, labels, batch_size):
                nats = F.cross_entropy(logits, batch, reduction="none")
                nats = nats.flatten(1).double().sum(1)
                log_prob[part] = -nats.cpu().numpy()
        return log_prob

    def predict(self, codes, *, labels=None, batch_size=None):
        """Distribution of each code given those before it.

        Parameters
        ----------
        codes : int array, shape (N, *grid)
            Codes in [0, K).
        labels : int array, shape (N,), optional
            Class of each grid, for a prior with classes.
        batch_size : int, optional
            Grids at a time.

        Returns
        -------
        probabilities : array, shape (N, *grid, K), float32
            Sums to 1 over the last axis.
        """
        codes, labels = self._check(codes, labels)
        probabilities = np.empty((*codes.shape, self.n_codes), np.float32)
        with torch.inference_mode():
            for part, _, logits in self._logits(codes, labels, batch_size):
                p = F.softmax(logits.movedim(1, -1), dim=-1)
                probabilities[part] = p.cpu().numpy()
        return probabilities

    def sample(
        self,
        n,
        *,
        random_seed=0,
        temperature=1.0,
        labels=None,
        grid_shape=None,
        batch_size=256,
        verbose=False,
    ):
        """Draw new grids of codes.

        Image i of a seed is the same whatever `n` and `batch_size` are.

        Parameters
        ----------
        n : int
            Number of grids, at least 0.
        random_seed : int, optional
            Seed of the draws.
        temperature : float, optional
            Logits are divided by it: below 1 the likely codes become likelier; 0
            takes the likeliest code at each position.
        labels : int or int array of shape (n,), optional
            Class of the grids, for a prior with classes.
        grid_shape : tuple of int, optional
            Another grid than that of the training codes. What the prior learnt
            about absolute positions is then stretched to it.
        batch_size : int, optional
            Grids at a time.
        verbose : bool, optional
            Show a progress bar.

        Returns
        -------
        codes : array, shape (n, *grid), int32
            Codes in [0, K).

        Raises
        ------
        ValueError
            For a negative temperature or number, or labels that do not fit.
        """
        check_number("n", n, at_least=0, whole=True)
        check_number("temperature", temperature, at_least=0)
        check_number("random_seed", random_seed, at_least=0, whole=True)
        check_number("batch_size", batch_size, at_least=1, whole=True)
        if labels is not None and np.ndim(labels) == 0:
            labels = np.full(n, labels)
        labels = _match_labels(labels, self.n_classes, n)
        if grid_shape is None:
            grid_shape = self.grid_shape
        return sample_codes(
            self.net,
            n,
            grid_shape=tuple(grid_shape),
            random_seed=int(random_seed),
            temperature=float(temperature),
            labels=labels,
            batch_size=int(batch_size),
            verbose=verbose,
        )

    def save(self, path):
        """Write a model file (safetensors), all that is needed to use the prior.

        Parameters
        ----------
        path : str or Path
            The file; it is complete or not there at all.
        """
        arrays = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in self.net.state_dict().items()
        }
        save_model(
            path,
            kind="pixelcnn",
            config=asdict(self.config),
            arrays=arrays,
            description={**self.description, "history": self.history.to_dict()},
        )

    @classmethod
    def load(cls, path, *, use_cuda=False):
        """Read a model file.

        Parameters
        ----------
        path : str or Path
            File written by :meth:`save`.
        use_cuda : bool, optional
            Use a GPU if there is one.

        Returns
        -------
        fit : PixelCNNFit

        Raises
        ------
        ValueError
            For a file that is damaged, of another kind or of a newer version.
        OSError
            For a file that cannot be read.
        """
        content = load_model(path, kind="pixelcnn")
        entries = dict(content.config)
        try:
            entries["grid_shape"] = tuple(entries["grid_shape"])
            config = PixelCNNConfig(**entries)
            with seeded(0):
                net = to_layout(config.build())
        except (TypeError, KeyError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} has settings that do not work: {error}"
            ) from error
        load_arrays(net, content.arrays, path=path)
        description = dict(content.description or {})
        history = History.from_dict(description.pop("history"))
        net = net.to(choose_device(use_cuda)).eval()
        return cls(net, config, history=history, description=description)

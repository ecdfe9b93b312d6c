"""Base class of the fits: network, history, model file."""

from datetime import UTC, datetime

from dipy_vqvae.device import choose_device
from dipy_vqvae.display import html_table
from dipy_vqvae.storage import load_model, load_network, save_model
from dipy_vqvae.training.history import History


class Fit:
    """A trained network with its configuration.

    Classes of one kind of model set `KIND` and `CONFIG`.

    Parameters
    ----------
    net : torch.nn.Module
        The trained network.
    config : Configured
        What it was built from: an instance of `CONFIG`.
    history : History
        Losses by epoch.
    description : dict
        Settings and training data.

    Attributes
    ----------
    KIND : str
        Kind of the model file.
    NAME : str
        What messages call the model.
    CONFIG : type
        Class of the configuration, with ``to_dict``, ``from_dict``, ``build`` and
        ``depth``.
    MODEL : type
        Class of the model; the module of the model sets it.
    """

    KIND = NAME = CONFIG = MODEL = None
    #: Settings of the configuration that ``repr`` shows.
    SHOWN = ()

    def __init__(self, net, config, *, history, description):
        self.net = net
        self.config = config
        self.history = history
        self.description = description

    def __repr__(self):
        shown = [f"{name}={value}" for name, value in self._shown()]
        return f"<{type(self).__name__}: {', '.join(shown)}>"

    def _repr_html_(self):
        stated = [
            (name.replace("_", " "), value)
            for name, value in self.card.items()
            if isinstance(value, str)
        ]
        return html_table(type(self).__name__, [*self._shown(), *stated])

    def _shown(self):
        """List what is shown of the fit, pairs of name and value."""
        shown = [(name, repr(getattr(self.config, name))) for name in self.SHOWN]
        if self.history.epochs:
            shown.append(("epochs", f"{self.history.epochs[-1]:g}"))
            shown += [
                (name, f"{self.history[name][-1]:.4g}")
                for name in ("loss", "validation_loss")
                if name in self.history
            ]
        return shown

    @property
    def card(self):
        """What is stated of the model, a dict that is saved with it.

        The commands fill in ``license``, ``data_source`` and ``intended_use``.
        ``figures`` may hold further figures by name.
        """
        return self.description.setdefault("card", {})

    @property
    def model(self):
        """The model that was fitted: its settings, as the model file has them."""
        settings = self.description.get("model") or {}
        table = self.MODEL.SETTINGS
        # Settings that are as before they existed are left out of a description.
        values = {
            name: setting.absent if setting.absent is not ... else setting.default
            for name, setting in table.items()
        }
        values.update({n: v for n, v in settings.items() if n in table})
        values = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return self.MODEL(**values)

    @property
    def device(self):
        """Device of the network."""
        return next(self.net.parameters()).device

    def save(self, path):
        """Write a model file (safetensors), all that is needed to use the fit.

        Parameters
        ----------
        path : str or Path
            The file; it is complete or absent.

        Raises
        ------
        OSError
            If it cannot be written; an existing file is left as it was.
        """
        save_model(path, kind=self.KIND, **self.to_content())

    def to_content(self):
        """Return what a model file holds, arguments of `save_model`.

        Returns
        -------
        content : dict
            With ``config``, ``arrays`` and ``description``.
        """
        return {
            "config": self.config.to_dict(),
            "arrays": self._arrays(),
            "description": {**self.description, "history": self.history.to_dict()},
        }

    def _arrays(self):
        """Return the arrays of the network by name."""
        return {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in self.net.state_dict().items()
        }

    @classmethod
    def load(cls, path, *, use_cuda=False):
        """Read a model file.

        Parameters
        ----------
        path : str or Path
            File written by :meth:`save`.
        use_cuda : bool, optional
            Use a GPU. Without one there is a warning and the CPU is used.

        Returns
        -------
        fit : VQVAEFit or PixelCNNFit
            The class on which ``load`` is called.

        Raises
        ------
        ValueError
            For a file that is damaged, of another kind or of a newer version.
        OSError
            For a file that cannot be read.
        """
        content = load_model(path, kind=cls.KIND)
        return cls.from_content(
            content.config,
            content.arrays,
            content.description,
            path=path,
            use_cuda=use_cuda,
        )

    @classmethod
    def from_content(cls, config, arrays, description, *, path, use_cuda=False):
        """Make a fit of what `to_content` gave.

        Parameters
        ----------
        config, arrays, description : dict
            What the file holds; not trusted.
        path : str or Path
            The file, for messages.
        use_cuda : bool, optional
            Use a GPU.

        Returns
        -------
        fit : VQVAEFit or PixelCNNFit

        Raises
        ------
        ValueError
            For content that is no such model.
        """
        description = dict(description or {})
        try:
            history = History.from_dict(description.pop("history", None))
            config = cls.CONFIG.from_dict(config)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path} holds no {cls.NAME}: {error}") from error
        net = load_network(config.build, arrays, depth=config.depth, path=path)
        net = net.to(choose_device(use_cuda))
        return cls(net, config, history=history, description=description)


def today():
    """Return the date, in UTC, as ISO 8601 writes it."""
    return datetime.now(UTC).date().isoformat()

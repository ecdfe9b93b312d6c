"""Model cards: what the file of a fit says of it :footcite:p:`Mitchell2019`.

References
----------
.. footbibliography::
"""

from dataclasses import asdict, dataclass
import math
import os
from pathlib import Path

from dipy_vqvae.display import html_table, text_table
from dipy_vqvae.settings import PIXELCNN, VQVAE
from dipy_vqvae.storage import fetch_model, load_model, named_models

_NAMES = {"vqvae": "VQ-VAE", "pixelcnn": "PixelCNN prior"}
_SETTINGS = {"vqvae": VQVAE, "pixelcnn": PIXELCNN}
_STATED = ("license", "data_source", "intended_use")
NOT_STATED = "not stated"


@dataclass(frozen=True)
class ModelCard:
    """What the file of a fit says of it.

    Attributes
    ----------
    kind : {"vqvae", "pixelcnn"}
        Kind of the fit.
    license, data_source, intended_use : str or None
        As its maker stated them.
    model : dict
        Size of the network, of the images and of their codes, and the settings that
        are not the defaults.
    training_data : dict
        Number, shapes, intensities, scaling and space of the training images or codes.
    training : dict
        Length and date of the training.
    figures : dict
        Held-out figures, losses of the training without; bits per image of a prior;
        figures that the maker added.
    package_version : str
        Version of dipy_vqvae that wrote the file.
    """

    kind: str
    license: str | None
    data_source: str | None
    intended_use: str | None
    model: dict
    training_data: dict
    training: dict
    figures: dict
    package_version: str

    def to_dict(self):
        """Return the content as dicts, lists, text and numbers that JSON can hold."""
        return asdict(self)

    def sections(self):
        """List the parts of the card: pairs of a title and of (name, value) rows."""
        use = [
            (name.replace("_", " "), getattr(self, name) or NOT_STATED)
            for name in _STATED
        ]
        parts = {
            "Model": self.model,
            "Training data": self.training_data,
            "Training": self.training,
            "Figures": self.figures,
        }
        rows = {title: _rows(part) for title, part in parts.items() if part}
        return [("Use", use), *rows.items()]

    @property
    def title(self):
        """Name of the kind of model, with the version that wrote the file."""
        return f"{_NAMES[self.kind]}, written by dipy_vqvae {self.package_version}"

    def __str__(self):
        parts = [text_table(title, rows) for title, rows in self.sections()]
        return "\n\n".join([self.title, *parts])

    def _repr_html_(self):
        parts = [html_table(title, rows) for title, rows in self.sections()]
        return "".join([f"<h4>{self.title}</h4>", *parts])


def model_card(name_or_path, *, kind=None):
    """Describe the file of a fit, without building its network.

    Parameters
    ----------
    name_or_path : str or Path
        File of a fit, or the name of a model.
    kind : {"vqvae", "pixelcnn"}, optional
        Which file of a named model; by default the VQ-VAE, if it has one.

    Returns
    -------
    card : ModelCard

    Raises
    ------
    ValueError
        For a file that is damaged, or holds no fit.
    OSError
        For a file that cannot be read.

    Examples
    --------
    >>> card = model_card("mnist")
    >>> card.license, card.training_data["number"]
    ('CC-BY-SA-3.0', 60000)
    """
    path = os.fspath(name_or_path)
    if path in named_models():
        paths = fetch_model(path)
        path = paths[kind or next(iter(paths))]
    content = load_model(path) if kind is None else load_model(path, kind=kind)
    try:
        return _card(content)
    except (TypeError, KeyError, ValueError, AttributeError, LookupError) as error:
        raise ValueError(
            f"{Path(path)}: its description cannot be read ({error!r})"
        ) from error


def _card(content):
    description = dict(content.description or {})
    history = description.get("history") or {}
    stated = description.get("card") or {}
    is_vqvae = content.kind == "vqvae"
    data = _training_images if is_vqvae else _training_codes
    return ModelCard(
        kind=content.kind,
        **{name: stated.get(name) for name in _STATED},
        model={**_model(content), **_changed(content.kind, description)},
        training_data=data(content.config, description),
        training=_training(history, description),
        figures={
            **_losses(history, description),
            **({} if is_vqvae else _bits(content.config, history, description)),
            **(stated.get("figures") or {}),
        },
        package_version=content.package_version,
    )


def _model(content):
    """Return the sizes of a network."""
    config = content.config
    sizes = {
        "parameters": sum(array.size for array in content.arrays.values()),
        "n_codes": config["n_codes"],
    }
    if content.kind == "vqvae":
        downsampling = config["downsampling"]
        shape = config["image_shape"]
        grid = [-(-n // f) for n, f in zip(shape, downsampling)]
        return {
            **sizes,
            "spatial_dims": len(shape),
            "downsampling": downsampling,
            "grid": grid,
            "channels": config["n_channels_in"],
        }
    conditions = [covariate[0] for covariate in config.get("covariates", ())]
    if config.get("n_classes"):
        conditions.insert(0, f"{config['n_classes']} classes")
    return {
        **sizes,
        "network": config["kind"],
        "grid": config["grid_shape"],
        **({"conditions": conditions} if conditions else {}),
        "knows_masks": config.get("outside_code") is not None,
    }


def _changed(kind, description):
    """Return the settings of the model that are not the defaults."""
    settings = description.get("model") or {}
    changed = {}
    for name, value in settings.items():
        setting = _SETTINGS[kind].get(name)
        default = None if setting is None else setting.default
        is_default = value == (list(default) if isinstance(default, tuple) else default)
        if not is_default and name != "n_codes":
            changed[name] = value
    return {"settings": changed} if changed else {}


def _training_images(config, description):
    """Return what is known of the training images."""
    images = description.get("training_images") or {}
    reading = description.get("reading") or {}
    bounds = config.get("bounds")
    known = {
        "number": images.get("number"),
        "subjects": images.get("subjects"),
        "shape": config["image_shape"],
        "mixed_shapes": config.get("mixed_shapes") or None,
        "data_type": images.get("dtype"),
        "lowest_intensity": bounds and bounds[0],
        "highest_intensity": bounds and bounds[1],
        "scaling": config["scaling"]["method"],
        "masked": True if "mask_fingerprint" in images else None,
        "format": reading.get("kind"),
    }
    if reading.get("kind") == "nifti":
        known["voxel_size_mm"] = reading.get("voxel_size")
        known["orientation"] = reading.get("orientation")
    held_out = description.get("validation_images") or {}
    known["held_out"] = held_out.get("number")
    return _known(known)


def _training_codes(config, description):
    """Return what is known of the training codes."""
    codes = description.get("training_codes") or {}
    held_out = description.get("validation_codes") or {}
    return _known(
        {
            "number": codes.get("number"),
            "grid": config["grid_shape"],
            "mixed_grids": config.get("mixed_grids") or None,
            "codebook": description.get("codebook"),
            "held_out": held_out.get("number"),
        }
    )


def _training(history, description):
    """Return the length and the date of a training."""
    known = {"date": description.get("date"), "steps": history.get("n_steps")}
    if history.get("epochs"):
        known["epochs"] = round(history["epochs"][-1], 2)
        known["seconds"] = round(history["seconds"][-1], 1)
    return _known(known)


def _kept(history, description):
    """Return the index of the epoch whose weights were kept."""
    fitting = description.get("fitting") or {}
    best = history.get("best_epoch")
    if fitting.get("patience") and best in history["epochs"]:
        return history["epochs"].index(best)
    return -1


def _losses(history, description):
    """Return the measures of held-out images, or those of the training without."""
    kind = "validation" if history.get("validation") else "train"
    prefix = "held-out" if kind == "validation" else "training"
    index = _kept(history, description)
    values = {name: curve[index] for name, curve in (history.get(kind) or {}).items()}
    return {
        f"{prefix} {'codes used' if name == 'n_used' else name}": round(value, 6)
        for name, value in values.items()
        if value is not None
    }


def _bits(config, history, description):
    """Return bits per code and, without masks, per image."""
    curves = history.get("validation") or history.get("train") or {}
    if not curves.get("loss"):
        return {}
    kind = "held-out" if history.get("validation") else "training"
    bits = curves["loss"][_kept(history, description)] / math.log(2)
    figures = {f"{kind} bits per code": round(bits, 4)}
    if config.get("outside_code") is None:
        per_image = bits * math.prod(config["grid_shape"])
        figures[f"{kind} bits per image"] = round(per_image, 2)
    return figures


def _known(values):
    return {name: value for name, value in values.items() if value is not None}


def _rows(part):
    return [(name.replace("_", " "), _text(value)) for name, value in part.items()]


def _text(value):
    """Write a value of a card as text.

    Examples
    --------
    >>> _text([7, 7]), _text(60000), _text(True), _text({"loss": "mae"})
    ('7 × 7', '60,000', 'yes', 'loss=mae')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, (list, tuple)):
        is_text = any(isinstance(item, str) for item in value)
        return (", " if is_text else " × ").join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(item)}" for name, item in value.items())
    return str(value)

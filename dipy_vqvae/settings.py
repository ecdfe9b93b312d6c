"""One declaration of every setting: default, check, documentation, option.

From a declaration come a model's constructor, ``repr`` and comparison, the docstring's
Parameters, the checks of library and commands, the options of the commands and the
tables in the documentation. To add a setting, add a :class:`Setting` to one of the
tables below, and use it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
import inspect
import math
import numbers
import re
import textwrap

import numpy as np

from dipy_vqvae.display import html_table

# Voxels per code along an axis: more than any image has.
MOST_DOWNSAMPLING = 4096
# A forged file must not keep a command busy forever.
MOST_REFINEMENTS = 100
# Largest weights in single precision.
_LARGEST_RATE = 1e38


# Constraints: the values allowed, in words, and their conversion to Python's types.


@dataclass(frozen=True)
class Integer:
    """An integer in a range."""

    low: int
    high: int | None = None
    doc_type = "int"
    option_type = "int"

    @property
    def needed(self):
        """Describe the values allowed."""
        return f"an integer {_range_in_words(self.low, self.high)}"

    def convert(self, value, n_axes=None):
        """Return the value as int; None where it is not allowed."""
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            return None
        high = math.inf if self.high is None else self.high
        return int(value) if self.low <= value <= high else None


@dataclass(frozen=True)
class Real:
    """A finite number in a range, whose ends may be left out."""

    low: float
    high: float | None = None
    is_low_open: bool = False
    is_high_open: bool = False
    doc_type = "float"
    option_type = "float"

    @property
    def needed(self):
        """Describe the values allowed."""
        if not (self.is_low_open or self.is_high_open):
            return f"a number {_range_in_words(self.low, self.high)}"
        if not self.is_low_open:
            return f"a number from {self.low:g} to below {self.high:g}"
        ends = f"above {self.low:g}"
        if self.high is not None:
            ends += f" and {'below' if self.is_high_open else 'at most'} {self.high:g}"
        return f"a number {ends}"

    def convert(self, value, n_axes=None):
        """Return the value as int or float; None where it is not allowed."""
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        is_integer = isinstance(value, numbers.Integral)
        if not is_number or not (is_integer or math.isfinite(value)):
            return None
        # In its own type a bound may be out of range.
        value = int(value) if is_integer else float(value)
        high = math.inf if self.high is None else self.high
        is_above = value > self.low if self.is_low_open else value >= self.low
        is_below = value < high if self.is_high_open else value <= high
        if not (is_above and is_below):
            return None
        return value


class Choice:
    """One of some values."""

    def __init__(self, *choices):
        self.choices = choices

    @property
    def doc_type(self):
        """Type in a docstring."""
        return (
            f"{{{', '.join(repr(c).replace(chr(39), chr(34)) for c in self.choices)}}}"
        )

    @property
    def option_type(self):
        """Type of an option."""
        return "int" if isinstance(self.choices[0], int) else "string"

    @property
    def needed(self):
        """Describe the values allowed."""
        return f"one of {', '.join(map(str, self.choices))}"

    def convert(self, value, n_axes=None):
        """Return the choice; None where it is none."""
        is_simple = isinstance(value, (str, numbers.Integral))
        if not is_simple or isinstance(value, bool) or value not in self.choices:
            return None
        return self.choices[self.choices.index(value)]


class Weights:
    """Weights of named parts, as a text, or the name of some weights."""

    doc_type = "str"
    option_type = "string"

    def __init__(self, parts, named):
        self.parts = parts
        self.named = named

    @property
    def needed(self):
        """Describe the values allowed."""
        names = ", ".join((*self.named, *self.parts))
        example = ",".join(f"{name}=1" for name in self.parts[:2])
        return f"one of {names}, or weights such as {example}"

    def convert(self, value, n_axes=None):
        """Return the text; None where it says no weights."""
        return value if isinstance(value, str) and self.of(value) else None

    def of(self, text):
        """Return the weights by part that a text says; None where it says none."""
        if text in self.named:
            return self.named[text]
        if text in self.parts:
            return {text: 1.0}
        weights = {}
        for entry in text.split(","):
            name, _, weight = entry.partition("=")
            if name.strip() not in self.parts or name.strip() in weights:
                return None
            try:
                weights[name.strip()] = float(weight)
            except ValueError:
                return None
        is_usable = all(0 <= w < float("inf") for w in weights.values())
        return weights if is_usable and any(weights.values()) else None


class SliceAxis(Choice):
    """An axis of the stored volume, or a plane that the affine of each file tells."""

    option_type = "string"

    def __init__(self):
        super().__init__(0, 1, 2, "axial", "coronal", "sagittal")

    def convert(self, value, n_axes=None):
        """Return the choice; None where it is none. A number may be a text."""
        if isinstance(value, str) and value in ("0", "1", "2"):
            value = int(value)
        return super().convert(value)


class Flag:
    """True or False."""

    doc_type = "bool"
    option_type = "bool"
    needed = "True or False"

    def convert(self, value, n_axes=None):
        """Return the value as bool; None where it is none."""
        is_flag = isinstance(value, (bool, np.bool_, numbers.Integral))
        return bool(value) if is_flag and value in (0, 1) else None


@dataclass(frozen=True)
class PerAxis:
    """Integers, one for all axes or one for each.

    `n` is their number, or the name of the setting that is.
    """

    low: int
    high: int | None = None
    n: int | str = "spatial_dims"
    doc_type = "int or tuple of int"
    option_type = "variable int"

    @property
    def needed(self):
        """Describe the values allowed."""
        if isinstance(self.n, int):
            return self.needed_of(self.n)
        in_range = _range_in_words(self.low, self.high)
        return f"an integer {in_range}, or one for each axis"

    def needed_of(self, n_axes):
        """Describe the values allowed for a known number of axes."""
        in_range = _range_in_words(self.low, self.high)
        return f"an integer {in_range}, or {n_axes} of them"

    def convert(self, value, n_axes=None):
        """Return an int or a tuple of them; None where a value is not allowed."""
        integer = Integer(self.low, self.high)
        if not isinstance(value, Iterable) or isinstance(value, str):
            return integer.convert(value)
        values = tuple(map(integer.convert, value))
        if None in values or len(values) != (n_axes or len(values)):
            return None
        return values


class Pair:
    """Two numbers in [0, 1)."""

    doc_type = "tuple of two float"
    needed = "a pair of numbers of at least 0 and below 1"

    def convert(self, value, n_axes=None):
        """Return a tuple of two numbers; None where they are none."""
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            return None
        values = tuple(map(Real(0, 1, is_high_open=True).convert, value))
        return None if None in values else values


@dataclass(frozen=True)
class Any:
    """Anything, such as the name of a file; the types say what it should be."""

    doc_type: str = "str"
    option_type: str = "string"

    def convert(self, value, n_axes=None):
        """Return the value as it is."""
        return value


def _range_in_words(low, high):
    """Describe a closed range."""
    return f"of at least {low}" if high is None else f"from {low} to {high}"


# Settings


@dataclass(frozen=True)
class Setting:
    """Declare one setting.

    Parameters
    ----------
    default : object
        Its default. None is always allowed where it is the default.
    constraint : Integer, Real, Choice, Flag, PerAxis, Pair or Any
        The values allowed.
    doc : str
        What it does, for docstrings, ``--help`` and the documentation.
    option : str, optional
        Name of the command-line option; by default that of the setting. An empty
        text: the commands do not have it.
    help : str, optional
        Text of the option, where it cannot be `doc`.
    factor : float, optional
        What the option is multiplied with to give the setting.
    is_required : bool, optional
        Whether the option is a positional argument that must be given.
    is_positional : bool, optional
        Whether it is a positional argument, after those that must be given.
    may_be_none : bool, optional
        Whether None is allowed though it is not the default.
    in_network : bool, optional
        Whether the network is built from it, so that it is part of the model file's
        configuration.
    absent : object, optional
        Value for files written before the setting existed. By default a model file
        without it is refused.
    is_of_consequence : bool, optional
        Whether the trained model depends on it.
    """

    default: object
    constraint: object
    doc: str
    option: str | None = None
    help: str | None = None
    factor: float | None = None
    is_required: bool = False
    is_positional: bool = False
    may_be_none: bool = False
    in_network: bool = False
    absent: object = ...
    is_of_consequence: bool = True

    def check(self, name, value, *, n_axes=None):
        """Return a value in Python's own types; a ValueError says what is allowed.

        `name` is that of the setting, or of the option as the user typed it; `n_axes` the
        number of values of a setting with one for each axis.
        """
        if value is None and (self.default is None or self.may_be_none):
            return None
        converted = self.constraint.convert(value, n_axes)
        if converted is None:
            constraint = self.constraint
            needed = constraint.needed_of(n_axes) if n_axes else constraint.needed
            if self.may_be_none or self.default is None:
                needed += ", or None"
            raise ValueError(f"{name} must be {needed}, got {value!r}")
        return converted


class Settings(Mapping):
    """Declared settings by name, in order.

    Parameters
    ----------
    settings : Setting
        By name.
    """

    def __init__(self, **settings):
        self._settings = settings

    def __getitem__(self, name):
        return self._settings[name]

    def __iter__(self):
        return iter(self._settings)

    def __len__(self):
        return len(self._settings)

    def only(self, *names):
        """Return some of the settings, in the order of `names`."""
        return Settings(**{name: self[name] for name in names})

    def without(self, *names):
        """Return all settings but some."""
        return Settings(**{n: s for n, s in self.items() if n not in names})

    def of_network(self):
        """Return the settings that the network is built from."""
        return Settings(**{n: s for n, s in self.items() if s.in_network})

    @property
    def defaults(self):
        """The defaults by name."""
        return {name: setting.default for name, setting in self.items()}

    def check(self, values, **context):
        """Return values in Python's own types, defaults where they are missing.

        `context` has values that others depend on and that are not settings here. A value
        that is not allowed is a ValueError.
        """
        checked = {}
        for name, setting in self.items():
            value = values.get(name, setting.default)
            n = getattr(setting.constraint, "n", None)
            n_axes = {**context, **checked}.get(n) if isinstance(n, str) else n
            checked[name] = setting.check(name, value, n_axes=n_axes)
        return checked

    def from_file(self, entries):
        """Read the settings from the entries of a file; a KeyError names a wrong one."""
        unknown = set(entries) - set(self)
        if unknown:
            raise KeyError(f"unknown {', '.join(sorted(unknown))}")
        values = {}
        for name, setting in self.items():
            if name not in entries and setting.absent is ...:
                raise KeyError(f"{name} is missing")
            value = entries.get(name, setting.absent)
            values[name] = tuple(value) if isinstance(value, list) else value
        return values

    def parameters(self, positional=()):
        """Return the settings as parameters of a function."""
        kinds = inspect.Parameter
        return [
            kinds(
                name,
                kinds.POSITIONAL_OR_KEYWORD
                if name in positional
                else kinds.KEYWORD_ONLY,
                default=setting.default,
            )
            for name, setting in self.items()
        ]

    def numpydoc(self, indent):
        """Write the Parameters section of a docstring; `indent` precedes each line."""
        lines = []
        for name, setting in self.items():
            lines.append(f"{name} : {setting.constraint.doc_type}, optional")
            lines += textwrap.wrap(
                setting.doc,
                88 - len(indent) - 4,
                initial_indent="    ",
                subsequent_indent="    ",
                break_on_hyphens=False,
            )
        return f"\n{indent}".join(lines)


def _with_settings(doc, settings):
    """Put the documentation of settings in place of ``{settings}``."""

    def parameters(match):
        return match[1] + settings.numpydoc(match[1])

    return doc and re.sub(r"^( *)\{settings\}$", parameters, doc, flags=re.MULTILINE)


class Configured:
    """An object that is made from declared settings, and keeps them as they are.

    Subclasses name their table in `SETTINGS`. Their docstring has the documentation of
    the settings in place of the word ``{settings}``.
    """

    SETTINGS = Settings()
    #: Settings that can be given without a keyword.
    POSITIONAL = ()

    def __init_subclass__(cls):
        cls.__signature__ = inspect.Signature(cls.SETTINGS.parameters(cls.POSITIONAL))
        cls.__doc__ = _with_settings(cls.__doc__, cls.SETTINGS)

    def __init__(self, *args, **kwargs):
        try:
            bound = self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}() {error}") from None
        bound.apply_defaults()
        values = dict(bound.arguments)
        if isinstance(values.get("random_seed"), np.random.Generator):
            # Drawn once: the settings say which training is to be repeated.
            values["random_seed"] = seed_of(values["random_seed"])
        vars(self).update(values)

    def __repr__(self):
        defaults = self.SETTINGS.defaults
        changed = [
            f"{name}={value!r}"
            for name, value in self.settings().items()
            if repr(value) != repr(defaults[name])
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def _repr_html_(self):
        rows = [(name, repr(value)) for name, value in self.settings().items()]
        return html_table(type(self).__name__, rows)

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return self._comparable() == other._comparable()

    def __hash__(self):
        return hash(type(self))

    def _comparable(self):
        """Return the settings in Python's own types, as text where not allowed."""
        values = {}
        for name, setting in self.SETTINGS.items():
            value = getattr(self, name)
            try:
                values[name] = setting.check(name, value)
            except ValueError:
                values[name] = repr(value)
        return values

    def settings(self):
        """Return the settings by name, as they were given.

        Returns
        -------
        settings : dict
        """
        return {name: getattr(self, name) for name in self.SETTINGS}

    def of_consequence(self):
        """Return the settings that the trained model depends on.

        Returns
        -------
        settings : dict
            By name, in Python's own types, without those that are as before the setting
            existed. A training is resumed only where they are equal.
        """
        values = {}
        for name, setting in self.SETTINGS.items():
            value = setting.check(name, getattr(self, name))
            if setting.is_of_consequence and value != setting.absent:
                values[name] = value
        return values

    def checked(self):
        """Return the settings by name, checked and in Python's own types.

        Returns
        -------
        settings : dict

        Raises
        ------
        ValueError
            For a value that is not allowed.
        """
        return self.SETTINGS.check(self.settings())

    def replace(self, **changes):
        """Return a copy with other values of some settings.

        Parameters
        ----------
        changes : object
            Values by name.

        Returns
        -------
        copy : object
            Of the same class.
        """
        return type(self)(**{**self.settings(), **changes})


class NetworkConfig(Configured):
    """Settings that a network is built from, as the entries of a model file."""

    def to_dict(self):
        """Return the settings as entries of a model file."""
        return self.settings()

    @classmethod
    def from_dict(cls, entries):
        """Read the entries of a model file.

        Raises
        ------
        ValueError
            If an entry is missing, unknown or not allowed.
        """
        try:
            return cls(**cls.SETTINGS.from_file(entries))
        except (TypeError, KeyError) as error:
            raise ValueError(error.args[0]) from error


def takes_settings(settings):
    """Give a method declared settings as keywords: signature and docstring.

    The method gets those that are given as its own keywords (``**name``), unchecked.
    Its docstring has their documentation in place of the word ``{settings}``.

    Parameters
    ----------
    settings : Settings
        The settings.

    Returns
    -------
    decorate : callable
    """

    def decorate(method):
        signature = inspect.signature(method)
        named = [p for p in signature.parameters.values() if p.kind != p.VAR_KEYWORD]
        signature = inspect.Signature([*named, *settings.parameters()])

        @wraps(method)
        def wrapper(*args, **kwargs):
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{method.__name__}() {error}") from None
            return method(*bound.args, **bound.kwargs)

        wrapper.__signature__ = signature
        wrapper.__doc__ = _with_settings(method.__doc__, settings)
        return wrapper

    return decorate


def with_settings(settings):
    """Give a class declared settings: in its docstring, and in that of its constructor.

    The constructor gets those that are given as its own keywords, as with
    `takes_settings`.

    Parameters
    ----------
    settings : Settings
        The settings.

    Returns
    -------
    decorate : callable
    """

    def decorate(cls):
        cls.__init__ = takes_settings(settings)(cls.__init__)
        cls.__doc__ = _with_settings(cls.__doc__, settings)
        return cls

    return decorate


def check_number(name, value, *, at_least, at_most=None, whole=False):
    """Return an argument as int or float; a ValueError says what is allowed."""
    constraint = (Integer if whole else Real)(at_least, at_most)
    return Setting(..., constraint, "").check(name, value)


def seed_of(random_seed, rng=None):
    """Return a seed: a number as it is, or one that a generator of NumPy draws.

    Parameters
    ----------
    random_seed : int or numpy.random.Generator
        The seed, at least 0.
    rng : numpy.random.Generator, optional
        Draws the seed, in place of `random_seed`.

    Returns
    -------
    random_seed : int

    Raises
    ------
    ValueError
        For a number that is no seed.
    TypeError
        If `rng` is no generator.

    Examples
    --------
    >>> seed_of(3), seed_of(0, np.random.default_rng(1)) == seed_of(
    ...     np.random.default_rng(1)
    ... )
    (3, True)
    """
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng must be a numpy.random.Generator, got {rng!r}; give an integer as "
            "random_seed"
        )
    generator = random_seed if rng is None else rng
    if isinstance(generator, np.random.Generator):
        return int(generator.integers(2**63))
    return check_number("random_seed", random_seed, at_least=0, whole=True)


def per_axis(name, value, n_axes, *, at_least=1):
    """Return an integer for each axis, from one for all or one for each.

    Examples
    --------
    >>> per_axis("downsampling", 4, 2)
    (4, 4)
    """
    constraint = PerAxis(at_least, n="spatial_dims")
    value = Setting(..., constraint, "").check(name, value, n_axes=n_axes)
    return value if isinstance(value, tuple) else (value,) * n_axes


# The declarations

_SEED = Setting(
    0,
    Integer(0, 2**64 - 1),
    "Seed of all random numbers; the same seed gives the same model. In Python it may be "
    "a numpy.random.Generator, which draws one.",
    help="Seed of all random numbers; the same seed gives the same model.",
)
_CUDA = Setting(
    False,
    Flag(),
    "Train on a GPU. Without one, a warning is logged and the CPU is used.",
    is_of_consequence=False,
)
_MIXED_PRECISION = Setting(
    False,
    Flag(),
    "Train in bfloat16, which is faster on processors that support it. Encoding, "
    "decoding, likelihoods and sampling do not use it.",
)

#: Settings of :class:`dipy_vqvae.VQVAEModel`.
VQVAE = Settings(
    n_codes=Setting(
        128,
        Integer(2),
        "Number of codes K in the codebook.",
        in_network=True,
    ),
    code_dim=Setting(
        6,
        Integer(1),
        "Dimension D of the codes.",
        in_network=True,
    ),
    spatial_dims=Setting(2, Choice(2, 3), "2 for slices, 3 for volumes."),
    downsampling=Setting(
        4,
        PerAxis(1, MOST_DOWNSAMPLING),
        "Voxels per code, along all axes or along each.",
        in_network=True,
    ),
    scaling=Setting(
        None,
        Choice("range", "percentile", "volume", "none"),
        "Intensity scaling for the network, undone in the outputs: by the range of all "
        "training images (range), by their 0.5 and 99.5 percentiles, which is robust "
        "to a few very bright voxels (percentile), each volume by its own "
        "percentiles inside its mask, for scans with different units (volume), or not "
        "at all (none). By default range, or volume if the contrasts (standard "
        "deviations) of files or subjects differ more than twofold.",
    ),
    loss=Setting(
        "mse",
        Choice("mse", "mae"),
        "Reconstruction loss: the mean squared error over the variance of the training "
        "images (mse), or the mean absolute error over their standard deviation, for "
        "sharper edges and less influence of outliers (mae).",
    ),
    ssim_weight=Setting(
        0.0,
        Real(0),
        "Weight of 1 - SSIM in the reconstruction loss, beside `loss`: 0.3 keeps more of "
        "edges and texture, at the cost of larger errors of single voxels and of more "
        "bits under a prior :footcite:p:`Zhao2017`.",
        absent=0.0,
    ),
    rate_weight=Setting(
        0.0,
        Real(0),
        "Price of a nat of code length, in units of the mean square of the latent "
        "channels. Above 0, a small causal rate network is trained as well, and each "
        "latent gets the code with the lowest sum of distance and price "
        ":footcite:p:`Chou1989`: fewer bits under a prior for slightly more "
        "distortion.",
        in_network=True,
    ),
    n_refinements=Setting(
        0,
        Integer(0, MOST_REFINEMENTS),
        "Rounds in which encoding improves the codes of each image by the squared "
        "error of its reconstruction :footcite:p:`Yang2020`. Encoding takes longer. "
        "Of the training, only the decoder's own epochs are affected: they use "
        "such codes.",
        in_network=True,
    ),
    n_channels=Setting(
        64,
        Integer(1),
        "Channels of encoder and decoder.",
        in_network=True,
    ),
    n_blocks=Setting(
        2,
        PerAxis(0, n=2),
        "Residual blocks of encoder and decoder, or of each.",
        in_network=True,
    ),
    n_hidden=Setting(
        None,
        Integer(1),
        "Channels inside the residual blocks, whose second convolution then is 1x1, "
        "which is faster. By default as many as `n_channels`, with two 3x3 "
        "convolutions.",
        in_network=True,
    ),
    architecture=Setting(
        "subpixel",
        Choice("subpixel", "strided"),
        "Encoder and decoder: residual blocks at the resolution of the codes "
        "(subpixel), or the strided and transposed convolutions of the original "
        "experiment (strided).",
        in_network=True,
    ),
    codebook=Setting(
        "ema",
        Choice("ema", "gradient"),
        "How the codebook is learnt: by exponential moving averages of the encoder "
        "outputs, with re-initialisation of unused codes (ema), or by gradient "
        "descent, as in the original experiment (gradient).",
    ),
    commitment=Setting(
        0.25,
        Real(0),
        "Weight of the commitment loss, which draws encoder outputs to their codes.",
    ),
    decay=Setting(
        0.9,
        Real(0, 0.9999),
        "Decay of the moving averages of an ema codebook, which cover about the last "
        "1 / (1 - decay) steps.",
    ),
    revive_below=Setting(
        0.1,
        Real(0, 1),
        "Codes of an ema codebook used less often than this fraction of uniform use "
        "are re-initialised from encoder outputs.",
    ),
    revive_until=Setting(
        0.8,
        Real(0, 1),
        "Fraction of the training after which unused codes of an ema codebook are no "
        "longer re-initialised, so that it settles.",
        absent=0.8,
    ),
    bounded=Setting(
        True,
        Flag(),
        "Clip decoded images to the intensity range of the training images.",
        option="skip_clipping",
        help="Do not clip decoded images to the intensity range of the training "
        "images.",
    ),
    mixed_precision=_MIXED_PRECISION,
    random_seed=_SEED,
    use_cuda=_CUDA,
)

#: Settings of :class:`dipy_vqvae.PixelCNNModel`.
PIXELCNN = Settings(
    n_codes=Setting(
        128,
        Integer(2),
        "Number of codes K.",
        option="",
        in_network=True,
    ),
    kind=Setting(
        "gated",
        Choice("gated", "plain"),
        "Gated PixelCNN with one stack per axis and no blind spot, followed by causal "
        "attention (gated), or the plain one of the original experiment (plain).",
        in_network=True,
    ),
    n_channels=Setting(
        None,
        Integer(2),
        "Channels of the network; by default 64 (gated) or 128 (plain).",
        in_network=True,
    ),
    n_layers=Setting(
        None,
        Integer(1),
        "Gated layers, by default 3, or 6 without attention; or residual blocks of a "
        "plain prior, by default 2.",
        in_network=True,
    ),
    n_attention=Setting(
        None,
        Integer(0),
        "Number of blocks of causal self-attention after the gated layers; they see "
        "all codes before a position :footcite:p:`Chen2018`. By default 3, or none for "
        "grids of more than 4,096 codes: the time grows with the square of their "
        "number.",
        in_network=True,
        absent=0,
    ),
    dropout=Setting(
        0.0,
        Real(0, 0.99),
        "Fraction of the channels dropped in training.",
        in_network=True,
    ),
    n_components=Setting(
        1,
        Integer(1, 1024),
        "Kinds of grids that the prior is a mixture of, found before the training: new "
        "grids are more coherent as a whole. Likelihoods take as many times as long.",
        in_network=True,
        absent=1,
    ),
    both_directions=Setting(
        False,
        Flag(),
        "Also train a network for the reverse order, in which codes are judged by those "
        "after them, in the same file: it takes twice the time. Likelihoods are then "
        "means over both orders; new grids are drawn in the usual one.",
        in_network=True,
        absent=False,
    ),
    mixed_precision=_MIXED_PRECISION,
    random_seed=_SEED,
    use_cuda=_CUDA,
)

#: Settings of a training, see :func:`dipy_vqvae.training.train`.
TRAINING = Settings(
    n_epochs=Setting(10, Real(0, is_low_open=True), "Passes over the training data."),
    max_seconds=Setting(
        None,
        Real(0, is_low_open=True),
        "Limit of the wall-clock time in seconds. The learning rate then follows time "
        "or steps, whichever is further.",
        option="max_minutes",
        help="Stop the training after this many minutes. The learning rate then "
        "follows time or steps, whichever is further.",
        factor=60,
    ),
    patience=Setting(
        None,
        Integer(1),
        "Stop after this many epochs without a lower validation loss, and return to "
        "the best weights.",
    ),
    batch_size=Setting(
        None,
        Integer(1),
        "Training items per step, over all processes; lower it if memory runs out. By "
        "default up to 128; fewer for large items or small data sets (50 steps per "
        "epoch).",
    ),
    learning_rate=Setting(
        1e-2,
        Real(0, _LARGEST_RATE, is_low_open=True),
        "Peak learning rate; adam needs a lower one, about 0.002.",
    ),
    optimizer=Setting(
        "muon",
        Choice("muon", "adam"),
        "Muon for convolution kernels with Adam for the rest, which needs fewer epochs "
        ":footcite:p:`Jordan2024` (muon), or Adam alone (adam).",
    ),
    schedule=Setting(
        "cosine",
        Choice("cosine", "linear", "constant"),
        "Learning rate after the warm-up: decreasing along half a cosine, linearly, "
        "which is slightly better for short trainings :footcite:p:`Defazio2023`, or "
        "constant.",
    ),
    weight_decay=Setting(
        0.1,
        Real(0),
        "Decoupled weight decay; biases and scales do not decay. With muon it "
        "bounds the weights, and steps stay large relative to them "
        ":footcite:p:`Liu2025`.",
    ),
    average_decay=Setting(
        None,
        Real(0, 1, is_low_open=True, is_high_open=True),
        "Decay of an exponential moving average of the weights, which is validated "
        "and is the result. By default the last weights are the result.",
    ),
    checkpoint_minutes=Setting(
        10.0,
        Real(0),
        "Minutes between checkpoints within an epoch; each epoch ends with one.",
        is_of_consequence=False,
    ),
    checkpoint_steps=Setting(
        None,
        Integer(1),
        "Steps between checkpoints within an epoch, whichever comes first.",
        is_of_consequence=False,
    ),
    warmup_steps=Setting(
        100, Integer(0), "Steps of linear warm-up, at most a tenth of the training."
    ),
    final_lr_fraction=Setting(
        0.01,
        Real(0, 1),
        "The learning rate ends at this fraction of its peak, unless it is constant.",
    ),
    betas=Setting((0.9, 0.99), Pair(), "Decay of Adam's two averages."),
    gradient_clip=Setting(
        1.0,
        Real(0, is_low_open=True),
        "Largest global norm of the gradient; None turns clipping off.",
        may_be_none=True,
    ),
    random_seed=_SEED,
)

# What the models choose for their users.
_CHOSEN = (
    "warmup_steps",
    "final_lr_fraction",
    "betas",
    "gradient_clip",
    "random_seed",
)

#: Settings of ``PixelCNNModel.fit``.
PIXELCNN_TRAINING = TRAINING.without(*_CHOSEN)

#: Settings of ``VQVAEModel.fit``.
VQVAE_TRAINING = Settings(
    **PIXELCNN_TRAINING,
    n_decoder_epochs=Setting(
        0,
        Real(0),
        "Passes after the training in which the codes are fixed and only the decoder "
        "is trained. Before them all images are encoded, which the limit of "
        "the time does not include.",
    ),
    patch_shape=Setting(
        None,
        PerAxis(1),
        "Train on random patches of this shape, for images that are too large to be "
        "trained on whole. In an epoch each image has as many as would cover it.",
    ),
)

#: Settings of an anomaly detector.
# What "all" weighs was chosen on patients that are neither in a training nor in a test, see
# benchmarks/anomaly.py.
SCORE = Weights(
    parts=("intensity", "texture", "residual", "surprisal", "rarity", "error"),
    named={
        "all": {"intensity": 1.0, "texture": 0.5, "residual": 0.25, "surprisal": 0.25},
        "both": {"residual": 1.0, "surprisal": 1.0},
    },
)
ANOMALY = Settings(
    n_restorations=Setting(
        16, Integer(1), "Draws of what an image would be if it were like the others."
    ),
    score=Setting(
        "all",
        SCORE,
        "Maps that count, each beside that of healthy subjects at the same place: the "
        "intensity (intensity), how much it varies nearby (texture), the difference to "
        "the restored image (residual), how unlikely the codes are (surprisal), these two "
        "(both), these four (all), how rare the codes are (rarity), the error of the "
        "reconstruction (error), or weights such as intensity=1,texture=2.",
    ),
    tail=Setting(
        "both",
        Choice("both", "bright", "dark"),
        "Differences that count: of any sign (both), or only where the image is "
        "brighter (bright) or darker (dark) than expected, and its texture less.",
    ),
    smoothing=Setting(
        3.0,
        Real(0),
        "Standard deviation of the Gaussian that smooths the maps, in voxels; a third "
        "of it across slices.",
    ),
    random_seed=replace(
        _SEED, doc="Seed of the draws; the same seed gives the same maps.", help=None
    ),
)

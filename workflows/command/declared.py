"""The options of a command, from declarations: signature, docstring, help and checks.

DIPY's parser reads ``inspect.signature(run)`` and ``inspect.getdoc(run)``. Both are made
here from the same :class:`dipy_vqvae.settings.Setting` that the models are made from.
"""

from dataclasses import dataclass, replace
from functools import wraps
import inspect
from math import inf
import re
import textwrap
from types import SimpleNamespace

from dipy_vqvae.settings import Choice, Flag, Real
from dipy_vqvae.workflows.command.errors import UsageError
from dipy_vqvae.workflows.command.options import FileName

_CITATION = re.compile(r"\s*:footcite:[pt]:`[^`]*`")


@dataclass(frozen=True)
class Group:
    """Options (Setting by name) that ``--help`` shows together, in their order."""

    title: str
    options: dict


def options_of(settings):
    """Return the settings of a model or a training by the names of their options."""
    options = {}
    for name, setting in settings.items():
        if setting.option == "":
            continue
        if _is_negated(setting):
            # DIPY's flags are False where they are not given.
            setting = replace(setting, default=False)
        options[setting.option or name] = setting
    return options


def settings_from(settings, options):
    """Return the values of settings, by name, that a user chose as options."""
    values = {}
    for name, setting in settings.items():
        if setting.option == "":
            continue
        value = getattr(options, setting.option or name)
        if _is_negated(setting):
            value = not value
        if setting.factor is not None and value is not None:
            value *= setting.factor
        values[name] = value
    return values


def takes_options(*groups):
    """Give a workflow's ``run`` its options.

    The method gets one namespace with the checked values. Its docstring is completed by
    the Parameters. Positional arguments come first; the options of each
    :class:`Group` follow in order and are given by name.
    """
    options = {name: s for group in groups for name, s in group.options.items()}

    def decorate(run):
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        by_name = inspect.Parameter.KEYWORD_ONLY
        # Required ones first, as in every function.
        names = sorted(options, key=lambda name: _rank(options[name]))
        signature = inspect.Signature(
            [inspect.Parameter("self", kind)]
            + [
                inspect.Parameter(name, kind)
                if options[name].is_required
                else inspect.Parameter(
                    name,
                    kind if options[name].is_positional else by_name,
                    default=options[name].default,
                )
                for name in names
            ]
        )

        @wraps(run)
        def wrapper(*args, **kwargs):
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{run.__qualname__}() {error}") from None
            bound.apply_defaults()
            values = dict(bound.arguments)
            return run(values.pop("self"), checked_options(options, values))

        wrapper.__signature__ = signature
        wrapper.__doc__ = _docstring(run.__doc__, {n: options[n] for n in names})
        wrapper.groups = groups
        return wrapper

    return decorate


def checked_options(options, values):
    """Return the checked values of options as a namespace, or raise `UsageError`."""
    checked = {}
    for name, option in options.items():
        constraint, value = option.constraint, values[name]
        if isinstance(value, list) and len(value) == 1 and hasattr(constraint, "n"):
            (value,) = value
        if isinstance(constraint, FileName) and value in ("None", "none"):
            value = None  # DIPY's parser leaves the word as it is for outputs
        n = getattr(constraint, "n", None)
        n_axes = checked.get(n) if isinstance(n, str) else n
        shown = shown_name(name, option)
        try:
            checked[name] = option.check(shown, value, n_axes=n_axes)
            if option.factor and checked[name] is not None:
                option.check(shown, value * option.factor)
        except ValueError as error:
            raise UsageError(str(error)) from None
    return SimpleNamespace(**checked)


def shown_name(name, option):
    """Return what the user types for an option."""
    is_argument = option.is_required or option.is_positional
    return name if is_argument else f"--{name}"


def _rank(option):
    """Return the place of an option among all of its command."""
    return 0 if option.is_required else 1 if option.is_positional else 2


def metavar(option):
    """Return what stands for the value of an option in ``--help``, or None."""
    if isinstance(option.constraint, Choice):
        return "|".join(map(str, option.constraint.choices))
    return None


def _is_negated(setting):
    """Whether the option switches off what is on by default."""
    return isinstance(setting.constraint, Flag) and setting.default is True


def help_text(setting):
    """Write the text of an option, without markup."""
    text = _CITATION.sub("", setting.help or setting.doc).replace("`", "")
    if isinstance(setting.constraint, Real) and (setting.constraint.high or inf) <= 1:
        needed = setting.constraint.needed.removeprefix("a number ")
        text = f"{text.rstrip('.')} ({needed})."
    return text


def _docstring(doc, options):
    """Complete a docstring by the Parameters, as DIPY's parser reads them."""
    if doc is None:  # python -OO
        doc = "Run the command."
    lines = [inspect.cleandoc(doc), "", "Parameters", "----------"]
    for name, setting in options.items():
        optional = "" if setting.is_required else ", optional"
        lines.append(f"{name} : {setting.constraint.option_type}{optional}")
        lines += textwrap.wrap(
            help_text(setting),
            80,
            initial_indent="    ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return "\n".join(lines)

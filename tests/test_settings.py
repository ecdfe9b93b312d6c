"""Settings are declared once, and everything that is made from them agrees."""

import inspect
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from dipy_vqvae import PixelCNNModel, VQVAEModel
from dipy_vqvae.nn import ENCODERS, QUANTISERS
from dipy_vqvae.prior.config import NETWORKS
from dipy_vqvae.settings import (
    PIXELCNN,
    PIXELCNN_TRAINING,
    TRAINING,
    VQVAE,
    VQVAE_TRAINING,
    Choice,
    Configured,
    Flag,
    Integer,
    Pair,
    PerAxis,
    Real,
    Setting,
    Settings,
    check_number,
    per_axis,
)
from dipy_vqvae.training import TrainingOptions
from dipy_vqvae.vqvae.losses import LOSSES
from dipy_vqvae.workflows.command import UsageError, options_of, settings_from
from dipy_vqvae.workflows.fit_pixelcnn import FitPixelCNNFlow
from dipy_vqvae.workflows.fit_vqvae import FitVQVAEFlow

MODELS = {VQVAEModel: VQVAE, PixelCNNModel: PIXELCNN, TrainingOptions: TRAINING}
FLOWS = {
    FitVQVAEFlow: (VQVAE, VQVAE_TRAINING),
    FitPixelCNNFlow: (PIXELCNN, PIXELCNN_TRAINING),
}


def wrong_values(constraint):
    """Return values next to what a constraint allows, and of other types."""
    if isinstance(constraint, Choice):
        return ["nonsense", True, [constraint.choices[0]]]
    if isinstance(constraint, Flag):
        return [2, "yes", None]
    if isinstance(constraint, Pair):
        return [0.5, (0.5, 1.0), (0.5, 0.5, 0.5)]
    values = [constraint.low - 1, "1", True, math.nan, math.inf]
    if constraint.high is not None:
        values.append(constraint.high + max(1, constraint.high / 100))
    if isinstance(constraint, Real):
        values += [constraint.low] * constraint.is_low_open
        values += [constraint.high] * constraint.is_high_open
        return values
    return [*values, constraint.low + 0.5]


def cases(settings):
    """List (name, value) of values that are not allowed."""
    return [
        (name, value)
        for name, setting in settings.items()
        for value in wrong_values(setting.constraint)
    ]


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_wrong_values_are_refused_by_the_library(cls):
    for name, value in cases(MODELS[cls]):
        with pytest.raises(ValueError, match=f"^{name} must be .*, got") as error:
            cls(**{name: value}).checked()
        assert str(error.value).endswith(f"got {value!r}")


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_commands_refuse_the_same_in_the_same_words(flow):
    inputs = {"input_files": "nothing here"}
    if flow is FitPixelCNNFlow:
        inputs["vqvae_file"] = "nothing here"
    with pytest.raises(TypeError, match=r"run\(\) .*'nonsense'"):
        flow().run(**inputs, nonsense=1)
    for settings in FLOWS[flow]:
        for name, value in cases(settings):
            option = settings[name].option
            if option == "" or isinstance(settings[name].constraint, Flag):
                continue
            with pytest.raises(UsageError) as error:
                flow().run(**inputs, **{option or name: value})
            said = str(error.value)
            assert said.startswith(f"--{option or name} must be ")
            if option is None and value != [value]:
                with pytest.raises(ValueError) as of_library:
                    settings.check({name: value}, spatial_dims=2)
                assert said == f"--{of_library.value}"


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_signature_repr_and_comparison(cls):
    settings = MODELS[cls]
    parameters = inspect.signature(cls).parameters
    assert {n: p.default for n, p in parameters.items()} == settings.defaults
    assert repr(cls()) == f"{cls.__name__}()"
    seeded = cls(random_seed=3)
    assert repr(seeded) == f"{cls.__name__}(random_seed=3)"
    assert cls() == cls() and seeded != cls() and seeded == cls().replace(random_seed=3)
    assert seeded == cls(random_seed=np.int64(3)) and seeded in {cls(), seeded}
    assert (cls() == object()) is False
    assert pickle.loads(pickle.dumps(seeded)) == seeded
    with pytest.raises(TypeError, match=rf"^{cls.__name__}\(\) .*'nonsense'"):
        cls(nonsense=1)


@pytest.mark.parametrize(
    ("documented", "settings"),
    [
        *MODELS.items(),
        (VQVAEModel.fit, VQVAE_TRAINING),
        (PixelCNNModel.fit, PIXELCNN_TRAINING),
    ],
)
def test_docstrings_have_every_setting(documented, settings):
    assert "{settings}" not in documented.__doc__
    words = " ".join(documented.__doc__.split())
    for name, setting in settings.items():
        assert (
            f"{name} : {setting.constraint.doc_type}, optional {setting.doc}" in words
        )


def test_numpys_numbers_become_pythons():
    model = VQVAEModel(
        n_codes=np.int16(8),
        n_channels=np.int8(64),
        n_blocks=np.array([1, 2]),
        decay=np.float32(0.5),
        bounded=np.bool_(True),
        random_seed=np.uint8(3),
    )
    checked = model.checked()
    assert checked["n_blocks"] == model.of_consequence()["n_blocks"] == (1, 2)
    assert model == model.replace() != model.replace(n_blocks=np.array([2, 2]))
    kinds = {type(v) for v in checked.values()} | {type(checked["n_blocks"][0])}
    assert kinds <= {int, float, bool, str, tuple, type(None)}


def test_what_a_trained_model_depends_on():
    assert "use_cuda" not in VQVAEModel(use_cuda=True).of_consequence()
    assert VQVAEModel(n_codes=4).of_consequence()["n_codes"] == 4
    left_out = set(TRAINING) - set(TrainingOptions().of_consequence())
    assert left_out == {"checkpoint_minutes", "checkpoint_steps"}


def test_a_new_setting_leaves_old_trainings_alone():
    class Model(Configured):
        """{settings}"""

        SETTINGS = Settings(
            old=Setting(1, Integer(0), "Since the first version."),
            new=Setting(5, Integer(0), "Since the second.", absent=0),
        )

    assert Model(new=0).of_consequence() == {"old": 1}
    assert Model().of_consequence() == {"old": 1, "new": 5}


def test_choices_are_those_that_are_implemented():
    assert set(VQVAE["architecture"].constraint.choices) == set(ENCODERS)
    assert set(VQVAE["codebook"].constraint.choices) == set(QUANTISERS)
    assert set(VQVAE["loss"].constraint.choices) == set(LOSSES)
    assert set(PIXELCNN["kind"].constraint.choices) == set(NETWORKS)


def test_options_and_settings():
    options = options_of(VQVAE)
    assert "bounded" not in options and options["skip_clipping"].default is False
    values = {name: option.default for name, option in options.items()}
    chosen = SimpleNamespace(**values)
    assert settings_from(VQVAE, chosen) == VQVAE.defaults
    chosen.skip_clipping = True
    assert settings_from(VQVAE, chosen)["bounded"] is False
    chosen.max_minutes = 1.5
    assert settings_from(TRAINING.only("max_seconds"), chosen) == {"max_seconds": 90}


def test_entries_of_files():
    settings = Settings(
        old=Setting(1, Integer(0), "Since the first version."),
        new=Setting(5, Integer(0), "Since the second.", absent=0),
    )
    assert settings.from_file({"old": 3}) == {"old": 3, "new": 0}
    assert settings.from_file({"old": [3], "new": 7}) == {"old": (3,), "new": 7}
    with pytest.raises(KeyError, match="old is missing"):
        settings.from_file({"new": 7})
    with pytest.raises(KeyError, match="unknown other"):
        settings.from_file({"old": 1, "other": 2})


@pytest.mark.parametrize(
    ("constraint", "needed"),
    [
        (Integer(2), "an integer of at least 2"),
        (Integer(0, 100), "an integer from 0 to 100"),
        (Real(0), "a number of at least 0"),
        (Real(0, is_low_open=True), "a number above 0"),
        (Real(0, 1, is_high_open=True), "a number from 0 to below 1"),
        (PerAxis(1), "an integer of at least 1, or one for each axis"),
        (PerAxis(0, n=2), "an integer of at least 0, or 2 of them"),
        (Choice("a", "b"), "one of a, b"),
    ],
)
def test_words(constraint, needed):
    assert constraint.needed == needed


def test_arguments_of_other_functions():
    assert per_axis("grid_shape", (np.int8(3), 4), 2) == (3, 4)
    assert check_number("temperature", np.float64(0.5), at_least=0) == 0.5
    with pytest.raises(
        ValueError, match=r"^n must be an integer of at least 1, got 0$"
    ):
        check_number("n", 0, at_least=1, whole=True)
    with pytest.raises(
        ValueError, match="must be an integer of at least 1, or 3 of them.*, got"
    ):
        per_axis("grid_shape", (3, 4), 3)

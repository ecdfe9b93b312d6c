"""The detector on toy images: blobs at places of their own."""

import numpy as np
import pytest

import dipy_vqvae as dv
from dipy_vqvae.anomaly import AnomalyFit, AnomalyModel

SHAPE = (24, 24)


def subject(seed, n=6):
    """Slices with a bright disc that grows along the volume, and noise."""
    rng = np.random.default_rng(seed)
    row, column = np.indices(SHAPE)
    centre = 12 + rng.normal(size=2)
    distance = np.hypot(row - centre[0], column - centre[1])
    radius = np.linspace(5, 8, n)[:, None, None]
    return 100 * (distance < radius) + 3 * rng.normal(size=(n, *SHAPE))


@pytest.fixture(scope="module")
def networks():
    training = [subject(seed) for seed in range(60)]
    vqvae = dv.VQVAEModel(
        16, code_dim=4, n_channels=16, n_blocks=1, downsampling=4
    ).fit(training, n_epochs=8)
    codes = vqvae.encode(training)
    positions = np.tile(np.linspace(0, 1, 6), 60)
    prior = dv.PixelCNNModel(16, n_channels=16, n_layers=2, both_directions=True).fit(
        codes, spatial_dims=2, covariates={"slice_position": positions}, n_epochs=8
    )
    return vqvae, prior


@pytest.fixture(scope="module")
def fit(networks):
    healthy = [subject(seed) for seed in range(100, 120)]
    # Intensities say little: beside the background, all of the disc is bright.
    return AnomalyModel(*networks, n_restorations=4, score="both").fit(healthy)


def with_lesion(images):
    images = images.copy()
    images[2:4, 10:14, 9:13] = 30
    return images


def test_lesions_are_found(fit):
    patients = [with_lesion(subject(seed)) for seed in range(200, 210)]
    healthy = [subject(seed) for seed in range(300, 310)]
    scores = fit.scores(patients), fit.scores(healthy)
    assert np.median(scores[0].p_maximum) < 0.15
    assert np.median(scores[1].p_maximum) > 0.2
    inside = np.zeros((6, *SHAPE), bool)
    inside[2:4, 10:14, 9:13] = True
    for lesion, z in zip(fit.lesions(patients, alpha=0.1), fit.score_map(patients)):
        assert lesion.shape == z.shape == (6, *SHAPE)
        assert z[inside].mean() < -2
    rate = np.mean([x.mean() for x in fit.lesions(healthy, alpha=0.05, error="fpr")])
    assert 0.02 < rate < 0.1


def test_only_what_a_score_needs_is_made(networks, fit, monkeypatch):
    images = [with_lesion(subject(1))]
    expected = fit.restore(images)
    drawn = []
    sample = dv.PixelCNNFit.sample

    def count(self, n, **options):
        drawn.append(n)
        return sample(self, n, **options)

    monkeypatch.setattr(dv.PixelCNNFit, "sample", count)
    healthy = [subject(seed) for seed in range(100, 106)]
    model = AnomalyModel(*networks, n_restorations=4, score="surprisal", smoothing=1)
    quick = model.fit(healthy)
    assert set(quick.places) == {"surprisal"}
    (scored,) = quick.scored(images)
    assert not drawn
    restored = scored.restore()
    n = len(drawn)
    assert n > 0 and scored.restore() is restored and len(drawn) == n
    np.testing.assert_array_equal(restored.mean[..., 0], expected.mean[0])
    np.testing.assert_array_equal(quick.restore(images).mean[0], expected.mean[0])


def test_too_few_subjects(networks):
    with pytest.raises(ValueError, match="4 healthy subjects are too few"):
        AnomalyModel(*networks).fit([subject(seed) for seed in range(4)])


def test_an_array_with_subjects(networks, fit):
    images = np.concatenate([subject(seed) for seed in range(100, 120)])
    of = np.repeat(np.arange(20), 6)
    model = AnomalyModel(*networks, n_restorations=4, score="both")
    same = model.fit(images, subjects=of)
    np.testing.assert_allclose(same.null.maxima, fit.null.maxima)


def test_files(fit, tmp_path):
    fit.save(tmp_path / "anomaly.safetensors")
    loaded = AnomalyFit.load(tmp_path / "anomaly.safetensors")
    images = [subject(1), subject(2)]
    for ours, theirs in zip(loaded.score_map(images), fit.score_map(images)):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(loaded.scores(images).p, fit.scores(images).p)
    with pytest.raises(
        ValueError, match="is an anomaly model, a vqvae model is needed"
    ):
        dv.VQVAEFit.load(tmp_path / "anomaly.safetensors")


def test_brighter_than_healthy_subjects_at_the_same_place(networks):
    def head(seed):
        image = subject(seed)
        image[:, :4] += 6  # bright in all of them
        return image

    model = AnomalyModel(
        *networks, n_restorations=1, score="intensity", tail="bright", smoothing=1
    )
    fit = model.fit([head(s) for s in range(100, 120)])
    patient = head(1)
    patient[3, 20:23, 0:3] += 15
    before, z = fit.score_map([head(1), patient])
    more = z - before
    assert more.max() > 1
    peak = np.unravel_index(more.argmax(), more.shape)
    assert (np.abs(np.subtract(peak, [3, 21, 1])) <= 1).all()
    assert z[:, :4].mean() < 1  # where all of them are bright
    assert fit.null.n_subjects == 20

"""Thresholds from healthy subjects' maps."""

import numpy as np
import pytest
from scipy import stats

from dipy_vqvae.anomaly.calibration import max_threshold
from dipy_vqvae.anomaly.null import largest_cluster, null_of


def null_of_values(subjects):
    maps = [values[None, None] for values in subjects]
    z = np.zeros(len(subjects))
    statistics = [np.ones((1, 4))] * len(maps)
    insides = [np.ones(x.shape, bool) for x in maps]
    return null_of(maps, insides, z=z, image_z=z, statistics=statistics)


def test_p_of_a_normal_map():
    rng = np.random.default_rng(0)
    null = null_of_values([rng.normal(size=20_000) for _ in range(20)])
    for z in (-1.0, 0.0, 1.0, 2.0, 3.0):
        assert null.p(np.array([z])) == pytest.approx(stats.norm.sf(z), rel=0.12)
    assert null.p(np.array([-50.0])) == 1
    assert null.p(np.array([50.0])) == pytest.approx(1e-5)


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_subjects_that_differ_keep_the_rate_on_average(alpha):
    rng = np.random.default_rng(1)

    def subject():
        return rng.normal(scale=rng.uniform(0.7, 1.5), size=rng.integers(500, 20_000))

    null = null_of_values([subject() for _ in range(60)])
    threshold = null.rate_threshold(alpha)
    realised = np.mean([(subject() > threshold).mean() for _ in range(400)])
    assert alpha / 1.4 < realised < alpha * 1.4
    # That of pooled voxels is the same only if all subjects have as many.
    assert null.p(np.array([threshold])) <= alpha


def test_family_wise_rate():
    rng = np.random.default_rng(2)
    false = []
    for _ in range(2000):
        threshold = max_threshold(rng.normal(size=(19, 300)).max(1), 0.1)
        false.append(rng.normal(size=300).max() > threshold)
    assert abs(np.mean(false) - 0.1) < 0.02


def test_clusters_are_of_neighbours_inside():
    size = np.zeros((3, 6, 6))
    size[0, 1, 1:4] = size[1, 1, 1] = 2  # four voxels, two slices
    size[2, 4, 4:] = 2
    inside = np.ones(size.shape, bool)
    assert largest_cluster(size, inside, 1.0) == 4
    inside[0] = False
    assert largest_cluster(size, inside, 1.0) == 2
    assert largest_cluster(size, inside, 2.0) == 0

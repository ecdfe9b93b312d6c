"""Healthy maps by place."""

import numpy as np
import numpy.testing as npt

from dipy_vqvae.anomaly.place import coordinates, place_sums, places_of


def head(n, shape, rng):
    """A box that is inside, with a margin that differs."""
    inside = np.zeros((n, *shape), bool)
    first = rng.integers(0, 6, len(shape))
    last = np.array(shape) - rng.integers(0, 6, len(shape))
    inside[(slice(None), *map(slice, first, last))] = True
    return inside


def fit_places(subjects, d):
    sums = [place_sums(v, inside, coordinates(inside), d) for v, inside in subjects]
    return places_of(np.sum(sums, axis=0))


def test_coordinates_are_relative_to_the_mask():
    inside = np.zeros((4, 8, 10), bool)
    inside[1:3, 2:6, 4:5] = True
    along, row, column = coordinates(inside)
    npt.assert_allclose(along[:, 0, 0], [0, 0.25, 0.75, 1])
    npt.assert_allclose(row[1, :, 0], [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    npt.assert_allclose(column[2, 0, 3:6], [0, 0.5, 1])
    npt.assert_allclose(row[0], 0.5)  # nothing is inside
    volume = coordinates(np.ones((2, 4, 5, 6), bool))
    assert volume.shape == (3, 2, 4, 5, 6)
    npt.assert_allclose(volume[2, 1, 0, 0], (np.arange(6) + 0.5) / 6)


def test_places_have_their_own_mean_and_deviation():
    rng = np.random.default_rng(3)

    def subject(shape):
        inside = head(16, shape, rng)
        along, row, column = coordinates(inside)
        noise = rng.normal(size=inside.shape)
        return 5 * row - 3 * along + (1 + column) * noise, inside

    shapes = [(60, 40), (40, 64), (50, 50)] * 20
    places = fit_places([subject(shape) for shape in shapes], 2)
    new, inside = subject((64, 48))
    at = coordinates(inside)
    z = places.standardise(new, at)
    for chosen in (at[1] < 0.2, at[1] > 0.8, at[2] < 0.2, at[2] > 0.8, at[0] > 0.8):
        part = z[chosen & inside]
        assert abs(part.mean()) < 0.15
        assert 0.85 < part.std() < 1.15


def test_volumes():
    rng = np.random.default_rng(4)
    inside = np.ones((1, 30, 20, 20), bool)

    def subject():
        return 4 * coordinates(inside)[0] + rng.normal(size=inside.shape), inside

    places = fit_places([subject() for _ in range(20)], 3)
    z = places.standardise(subject()[0], coordinates(inside))
    # Twenty subjects: the mean at a place is drawn a little to that of all places.
    assert abs(z[:, :6].mean()) < 0.25 and abs(z[:, -6:].mean()) < 0.25
    assert 0.9 < z.std() < 1.1


def test_each_subject_counts_once():
    few, many = np.zeros((1, 24, 24)), np.ones((80, 24, 24))
    subjects = [(x, np.ones(x.shape, bool)) for x in (few, many)]
    places = fit_places(subjects, 2)
    # The single slice is in the middle of its volume; two subjects, and as many shared
    # ones, whose mean is that of nine places out of which eight have another subject.
    npt.assert_allclose(places.mean[4], (0 + 1 + 2 * 8 / 9) / 4)
    sums = [place_sums(v, i, coordinates(i), 2) for v, i in subjects]
    assert sums[0][0].max() == sums[1][0].max() == 1
    npt.assert_allclose(sums[1][1], 1)

"""Training on more than memory holds: order of files, patches, files that go."""

import os

import nibabel as nib
import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import SETTINGS, assert_same_fit, blobs, fit_to

from dipy_vqvae import VQVAEModel, open_images
from dipy_vqvae.vqvae.data import survey_images

SHAPES = [(9, 13, 8), (8, 8, 8), (10, 7, 12)]


def save(path, data):
    nib.save(nib.Nifti1Image(data, np.eye(4), dtype=data.dtype), path)
    return path


@pytest.fixture
def folder(tmp_path):
    for i in range(8):
        save(tmp_path / f"{i}.nii.gz", np.moveaxis(blobs(4, (12, 10), i), 0, 2))
    return tmp_path


@pytest.fixture(scope="module")
def volumes():
    return [blobs(1, shape, seed)[0] for seed, shape in enumerate(SHAPES)]


def batches_of(images, *, spatial_dims=2, factors=(4, 4), **how):
    data = survey_images(images, None, spatial_dims=spatial_dims, method="none")
    scaling = data.survey.scaling
    return data.batches(scaling=scaling, factors=factors, device="cpu", **how)


class TestOrder:
    def test_any_where_all_files_fit_in_memory(self, folder):
        batches = batches_of(open_images(folder))
        order = batches.order(3, 0)
        npt.assert_array_equal(np.sort(order), np.arange(32))
        npt.assert_array_equal(batches.order(3, 0), order)
        assert (batches.order(3, 1) != order).any()
        assert (batches.order(4, 0) != order).any()
        files = batches.subject[order]
        assert np.count_nonzero(np.diff(files)) > 20

    def test_by_groups_of_files_where_they_do_not(self, folder):
        # Half of it, two files of 480 bytes, is a group.
        opened = open_images(folder, cache_bytes=2000)
        batches = batches_of(opened)
        groups, n_changes = set(), 0
        for epoch in range(5):
            order = batches.order(3, epoch)
            npt.assert_array_equal(np.sort(order), np.arange(32))
            files = batches.subject[order].reshape(4, 8)
            for some in files:
                assert len(np.unique(some)) == 2
                n_changes += np.count_nonzero(np.diff(some))
                groups.add(tuple(np.unique(some)))
        # Other files meet in another epoch.
        assert len(groups) > 8
        # Within a group images are shuffled: every other one is of the other file.
        assert n_changes > 20 * 7 / 3

    def test_each_file_is_read_about_once_in_an_epoch(self, folder, monkeypatch):
        opened = open_images(folder, cache_bytes=2000)
        read = []
        original = type(opened)._read

        def count(self, index):
            read.append(index)
            return original(self, index)

        monkeypatch.setattr(type(opened), "_read", count)
        fit_to(opened, n_epochs=3, batch_size=3)
        # One look at all, the first codes, and the epochs.
        assert len(read) <= 8 * (1 + 1 + 3) + 4
        assert opened._cache.held <= 2000

    def test_memory_changes_the_order_alone(self, folder):
        # Steps of all images: the order within a step changes nothing but rounding.
        many, few = (
            fit_to(open_images(folder, cache_bytes=n), batch_size=32, n_epochs=1)
            for n in (1 << 20, 2000)
        )
        npt.assert_allclose(many.history["loss"], few.history["loss"], rtol=1e-3)
        assert many.config == few.config


class TestPatches:
    @pytest.mark.parametrize("patch_shape", [6, (8, 5, 16)])
    def test_fit(self, volumes, patch_shape):
        model = {"spatial_dims": 3}
        masks = [volume > 10 for volume in volumes]
        how = {"model": model, "patch_shape": patch_shape, "mask": masks}
        held_out = {"validation_images": volumes, "validation_mask": masks}
        fit = fit_to(volumes, **how, **held_out)
        assert_same_fit(fit, fit_to(volumes, **how))
        assert np.isfinite(fit.history["validation_loss"]).all()
        assert [v.shape for v in fit.predict(volumes)] == SHAPES

    def test_an_image_is_covered(self, volumes):
        size = (4, 5, 8)
        batches = batches_of(
            volumes[:1], spatial_dims=3, factors=(1, 1, 1), patch_shape=size
        )
        assert len(batches) == 3 * 3 * 1
        corners = {
            volumes[0][
                tuple(slice(c, c + n) for c, n in zip(corner, size))
            ].tobytes(): (corner)
            for corner in np.ndindex(6, 9, 1)
        }
        seen = np.zeros((6, 9, 1), int)
        for seed in range(40):
            batch = batches.take(np.arange(9), among=np.arange(9), random_seed=seed)
            for patch in batch.x.numpy()[:, 0].astype(np.uint8):
                seen[corners[patch.tobytes()]] += 1
        assert seen.sum() == 360
        assert seen.min() > 0

    def test_masked_ones_have_something_inside(self, volumes):
        mask = np.zeros(SHAPES[0], bool)
        mask[8, 12, 0] = True
        data = survey_images(
            [volumes[0] + 1.0 * mask],
            [mask | (volumes[0] > 200)],
            spatial_dims=3,
            method="none",
        )
        batches = data.batches(
            scaling=data.survey.scaling,
            factors=(2, 2, 2),
            device="cpu",
            patch_shape=(3, 3, 3),
        )
        for seed in range(10):
            batch = batches.take(np.arange(5), among=np.arange(5), random_seed=seed)
            assert (batch.weight.sum((1, 2, 3, 4)) > 0).all()

    def test_bad_ones(self, volumes):
        model = {"spatial_dims": 3}
        with pytest.raises(ValueError, match="rate_weight and patch_shape"):
            fit_to(volumes, patch_shape=4, model={**model, "rate_weight": 1.0})
        with pytest.raises(ValueError, match="n_decoder_epochs and patch_shape"):
            fit_to(volumes, patch_shape=4, n_decoder_epochs=1, model=model)
        with pytest.raises(ValueError, match="patch_shape must be .*, got 0"):
            fit_to(volumes, patch_shape=0, model=model)


def test_a_file_that_vanishes_while_training(folder, tmp_path, monkeypatch):
    opened = open_images(folder, cache_bytes=1)
    checkpoint = tmp_path / "x.checkpoint"
    whole = fit_to(opened, n_epochs=3)
    victim = folder / "3.nii.gz"
    content = victim.read_bytes()
    status = victim.stat()
    original = type(opened)._read

    def read(self, index):
        if checkpoint.exists():
            victim.unlink(missing_ok=True)
        return original(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(type(opened), "_read", read)
        with pytest.raises(FileNotFoundError, match=r"3\.nii\.gz: no such file"):
            fit_to(
                open_images(folder, cache_bytes=1), n_epochs=3, checkpoint=checkpoint
            )
    # When it is back, the training continues as if nothing had been.
    victim.write_bytes(content)
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    resumed = fit_to(
        open_images(folder, cache_bytes=1), n_epochs=3, checkpoint=checkpoint
    )
    assert_same_fit(resumed, whole)
    # A checkpoint is of the files that it was made with.
    save(victim, np.moveaxis(blobs(4, (12, 10), 99), 0, 2))
    with pytest.raises(ValueError, match="training_images.fingerprint"):
        fit_to(open_images(folder), n_epochs=3, checkpoint=checkpoint)


def test_collections_and_lists_that_cannot_be_used(folder, volumes):
    slices, whole = open_images(folder), open_images(folder, spatial_dims=3)
    with pytest.raises(ValueError, match="opened as images of 3 axes .*0.nii.gz"):
        fit_to(whole)
    with pytest.raises(ValueError, match="pass mask_files to open_images"):
        fit_to(slices, mask=np.ones((12, 10)))
    fit = fit_to(slices, n_epochs=1)
    with pytest.raises(ValueError, match="opened as images of 3 axes"):
        fit.encode(whole)
    with pytest.raises(
        ValueError, match=r"images\[1\] has 3 channels, images\[0\] has 1"
    ):
        fit.encode([np.zeros((2, 5, 5)), np.zeros((2, 5, 5, 3))])
    with pytest.raises(ValueError, match=r"images\[0\]: images have 3 channels"):
        fit.encode([np.zeros((2, 5, 5, 3))])
    with pytest.raises(ValueError, match=r"images\[1\]: has 50 NaN"):
        fit.encode([np.zeros((2, 5, 5)), np.full((2, 5, 5), np.nan)])
    with pytest.raises(ValueError, match=r"images\[0\] must have shape \(N, H, W\)"):
        fit.encode([np.zeros(5)])
    model = VQVAEModel(**SETTINGS, spatial_dims=3)
    with pytest.raises(ValueError, match="must be a list of 3 masks"):
        model.fit(volumes, mask=volumes[0] > 0)
    masks = [volume > 10 for volume in volumes]
    with pytest.raises(ValueError, match=r"mask of images\[1\] must have the shape"):
        model.fit(volumes, mask=[masks[0], masks[0], masks[2]])
    with pytest.raises(ValueError, match=r"mask of images\[2\] selects nothing"):
        model.fit(volumes, mask=[*masks[:2], np.zeros(SHAPES[2])])


def test_a_constant_file(folder):
    flat = save(folder / "flat.nii.gz", np.full((12, 10, 4), 3, np.uint8))
    with pytest.raises(ValueError, match=rf"{flat}: is constant \(all 3.0\)"):
        fit_to(open_images(folder))
    fit = fit_to(open_images(folder, skip_empty=True), n_epochs=1)
    assert fit.predict(open_images(flat))[0].shape == (4, 12, 10)

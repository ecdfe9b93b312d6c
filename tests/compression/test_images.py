"""Images as bytes: what comes back is what the VQ-VAE reconstructs."""

import numpy as np
import numpy.testing as npt
import pytest
from toy_vqvae import blobs, fit_to

import dipy_vqvae as dv
from dipy_vqvae.compression import (
    code_bytes,
    deflate,
    masks_to_bytes,
    pack,
    pack_images,
    unpack,
    unpack_images,
)
from dipy_vqvae.data import Layout, make_nifti
from dipy_vqvae.vqvae import encode_images

OBLIQUE = np.array(
    [
        [-1.8, 0.3, 0.0, 90.0],
        [-0.3, 1.8, 0.2, 12.5],
        [0.0, -0.2, 5.0, 7.0],
        [0, 0, 0, 1],
    ]
)


def prior_of(vqvae, images, *, mask=None, **kwargs):
    """Fit a prior as dipy_fit_pixelcnn does."""
    codes = vqvae.encode(images, mask=mask)
    if mask is not None:
        is_list = isinstance(mask, list)
        mask = [vqvae.positions_inside(m) for m in (mask if is_list else [mask])]
        mask = mask if is_list else mask[0]
    model = dv.PixelCNNModel(vqvae.n_codes, n_channels=8, n_layers=1, n_attention=0)
    return model.fit(
        codes, mask=mask, spatial_dims=vqvae.spatial_dims, n_epochs=1, **kwargs
    )


def assert_same_bits(found, expected):
    for a, b in zip(
        found if isinstance(found, list) else [found],
        expected if isinstance(expected, list) else [expected],
    ):
        assert a.dtype == np.float32
        assert a.tobytes() == np.ascontiguousarray(b).tobytes()


SLICES = blobs(12, (13, 10))
VOLUMES = [blobs(2, (8, 9, 7)), blobs(1, (6, 8, 8), seed=1)]
CASES = {
    "slices": (SLICES, {}, {}),
    "refined": (SLICES, {"rate_weight": 0.1, "n_refinements": 1}, {}),
    "scaled by volume": ([SLICES[:5], SLICES[5:] * 3.0], {"scaling": "volume"}, {}),
    "channels": (np.stack([SLICES, SLICES[::-1]], -1), {}, {}),
    "volumes": (VOLUMES, {"spatial_dims": 3}, {}),
    "labels": (SLICES, {}, {"labels": np.arange(12) % 2}),
    "covariates": (SLICES, {}, {"covariates": {"age": np.arange(12.0)}}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]


def sparse_masks(images, n_dims):
    """Masks of each entry, with whole blocks outside."""
    rng = np.random.default_rng(0)
    masks = [rng.random(entry.shape[: n_dims + 1]) < 0.2 for entry in as_list(images)]
    for mask in masks:
        mask[..., 4:] = False
    return masks if isinstance(images, list) else masks[0]


def as_list(entries):
    return entries if isinstance(entries, list) else [entries]


@pytest.mark.parametrize("masked", ["no mask", "masks", "masks, not in the prior"])
def test_what_comes_back_is_the_reconstruction(case, masked):
    images, model, conditions = case
    mask = None
    if masked != "no mask":
        mask = sparse_masks(images, model.get("spatial_dims", 2))
    vqvae = fit_to(images, mask=mask, model=model)
    of_prior = mask if masked == "masks" else None
    prior = prior_of(vqvae, images, mask=of_prior, **conditions)
    content = dv.compress_images(vqvae, prior, images, mask=mask, **conditions)
    found = dv.decompress_images(vqvae, prior, content)
    assert_same_bits(found, vqvae.predict(images, mask=mask))
    if masked != "masks, not in the prior":
        assert_small(content, vqvae, prior, images, mask, conditions)


def assert_small(content, vqvae, prior, images, mask, conditions):
    """Compare all bytes with the prior's code length and what else has to be known."""
    codes, inside = vqvae.encode(images, mask=mask), None
    n_more, n_entries = 0, len(as_list(images))
    if mask is not None:
        inside = [vqvae.positions_inside(m) for m in as_list(mask)]
        outside = [c[~i].astype("u1") for c, i in zip(as_list(codes), inside)]
        n_more += len(masks_to_bytes(as_list(mask)))
        n_more += len(deflate(np.concatenate(outside).tobytes()))
        inside = inside if isinstance(mask, list) else inside[0]
    n_images = sum(map(len, as_list(images)))
    if "labels" in conditions:
        n_more += n_images
    n_more += 5 * n_images * len(conditions.get("covariates", ()))
    # A shape, or what a volume was scaled by.
    n_more += 24 * (n_entries - 1)
    nats = -prior.log_prob(codes, mask=inside, **conditions).sum()
    expected = 1.003 * nats / np.log(2) / 8
    assert code_bytes(content) <= expected + 8
    assert len(content) <= expected + 64 + n_more


def test_one_image_of_a_subject():
    vqvae = fit_to(VOLUMES, model={"spatial_dims": 3})
    prior = prior_of(vqvae, VOLUMES)
    content = dv.compress_images(vqvae, prior, [VOLUMES[0][0], VOLUMES[1]])
    found = dv.decompress_images(vqvae, prior, content)
    assert_same_bits(found, [vqvae.predict(VOLUMES[0][:1]), vqvae.predict(VOLUMES[1])])


@pytest.fixture(scope="module")
def vqvae():
    return fit_to(SLICES, model={"rate_weight": 0.01})


@pytest.fixture(scope="module")
def prior(vqvae):
    return prior_of(vqvae, SLICES)


def test_a_usual_affine_needs_no_more(vqvae, prior):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    content = dv.compress_images(vqvae, prior, SLICES, affine=affine)
    assert_small(content, vqvae, prior, SLICES, None, {})


def test_a_higher_rate_gives_smaller_files(vqvae, prior):
    sizes, distances = [], []
    latents = vqvae.latents(SLICES)
    for rate in (None, 0.01, 3.0):
        content = dv.compress_images(vqvae, prior, SLICES, rate=rate)
        sizes.append(len(content))
        (coded,), _ = unpack_images(vqvae, prior, content)
        vectors = vqvae.codebook[coded.codes]
        distances.append(np.square(latents - vectors).sum())
    assert sizes[2] < min(sizes[:2])
    assert distances[2] > max(distances[:2])


def test_codes_outside_stay_at_any_rate():
    mask = np.zeros(SLICES.shape, bool)
    mask[:, 2:8, 3:6] = True
    vqvae = fit_to(SLICES, mask=mask)
    prior = prior_of(vqvae, SLICES, mask=mask)
    content = dv.compress_images(vqvae, prior, SLICES, mask=mask, rate=0.5)
    ((found,), _), inside = (
        unpack_images(vqvae, prior, content),
        vqvae.positions_inside(mask),
    )
    codes = vqvae.encode(SLICES, mask=mask)
    npt.assert_array_equal(found.codes[~inside], codes[~inside])
    expected = prior.quantise(
        vqvae.latents(SLICES, mask=mask), vqvae.codebook, price=0.5, mask=inside
    )
    npt.assert_array_equal(found.codes[inside], expected[inside])


def test_all_of_a_file_is_kept(vqvae, prior):
    data = np.moveaxis(SLICES, 0, 2)
    header = make_nifti(data, OBLIQUE).header
    header.set_qform(OBLIQUE, 1)
    names = ("pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z")
    space = {name: np.asarray(header[name]).tolist() for name in names}
    coded = encode_images(
        vqvae,
        SLICES,
        layout=Layout(2, slice_axis=2, n_volumes=3),
        affine=OBLIQUE,
        space=space,
    )
    (found,), is_list = unpack_images(vqvae, prior, pack_images(vqvae, prior, [coded]))
    assert not is_list
    npt.assert_array_equal(found.affine, OBLIQUE)
    for name in ("layout", "space", "image_shape", "scalings", "model", "downsampling"):
        assert getattr(found, name) == getattr(coded, name), name
    npt.assert_array_equal(found.codes, coded.codes)


def test_models_are_the_same_two(vqvae, prior):
    content = dv.compress_images(vqvae, prior, SLICES)
    other = fit_to(SLICES, model={"rate_weight": 0.01}, n_epochs=1)
    with pytest.raises(ValueError, match="compressed with another VQ-VAE"):
        dv.decompress_images(other, prior, content)
    with pytest.raises(ValueError, match="compressed with another prior"):
        dv.decompress_images(vqvae, prior_of(other, SLICES), content)
    with pytest.raises(ValueError, match="codes of a prior, without images"):
        dv.decompress_images(vqvae, prior, prior.compress(vqvae.encode(SLICES)))
    npt.assert_array_equal(prior.decompress(content)[0], vqvae.encode(SLICES))


def test_damaged_and_forged_records_give_no_images(vqvae, prior):
    mask = np.zeros(SLICES.shape, bool)
    mask[:, 2:8, 3:6] = True
    content = dv.compress_images(vqvae, prior, SLICES, mask=mask, affine=OBLIQUE)
    expected = dv.decompress_images(vqvae, prior, content)
    with pytest.raises(ValueError, match="damaged"):
        dv.decompress_images(vqvae, prior, content[:-9] + content[-8:])
    *sections, record = unpack(content)
    rng = np.random.default_rng(0)
    for _ in range(60):
        forged = bytearray(record)
        forged[rng.integers(len(forged))] ^= 1 << rng.integers(8)
        try:
            found = dv.decompress_images(vqvae, prior, pack([*sections, bytes(forged)]))
        except ValueError:
            continue
        # The affine may have changed, or the mask: it is a file for which all is right.
        assert found.shape == expected.shape
        assert np.isfinite(found).all()


def test_what_is_given_wrongly(vqvae, prior):
    with pytest.raises(ValueError, match="mask must have shape"):
        dv.compress_images(vqvae, prior, SLICES, mask=np.ones((3, 3)))
    with pytest.raises(ValueError, match="affine: got a list of 2 for 1"):
        dv.compress_images(vqvae, prior, [SLICES], affine=[OBLIQUE] * 2)
    with pytest.raises(TypeError, match="content must be bytes"):
        dv.decompress_images(vqvae, prior, SLICES)
